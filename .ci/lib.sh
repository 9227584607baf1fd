# shellcheck shell=bash
# Functions for the scripts in this directory. Source it, do not run it.

ci_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # for the scripts that source this
repo_dir=$(dirname "$ci_dir")

# Downloads and builds are cached here, outside the repository.
if [[ $(id -u) -eq 0 ]]; then
  cache=${PAWL_CI_CACHE:-/var/cache/pawl-ci}
else
  cache=${PAWL_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pawl-ci}
fi
mkdir -p "$cache"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# wait_for SECONDS WHAT COMMAND...: polls COMMAND until it succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= deadline)); then
      say "gave up waiting for $what"
      return 1
    fi
    sleep 0.1
  done
}

# free_port prints an unused loopback port below the kernel's range for client
# ports.
free_port() {
  local port
  for _ in {1..50}; do
    port=$((20000 + RANDOM % 10000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  die "no free port found"
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# stop_pid FILE SIGNAL MARK: stops the process whose pid is in FILE and waits for
# it. Does nothing if the pid now belongs to another process, whose command line
# does not contain MARK.
stop_pid() {
  local file=$1 signal=$2 mark=$3 pid
  [[ -s $file ]] || return 0
  pid=$(<"$file")
  if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$mark"; then
    kill "-$signal" "$pid" 2>/dev/null || true
    if ! wait_for 30 "process $pid to end" gone "$pid"; then
      kill -KILL "$pid" 2>/dev/null || true
      wait_for 10 "process $pid to be killed" gone "$pid" || true
    fi
  fi
  rm -f "$file"
}

# apt_install PACKAGE...: installs Debian packages without starting their
# services. The scripts here start what they need themselves.
apt_install() {
  [[ $(id -u) -eq 0 ]] || die "missing Debian packages: $* (run apt-get install as root)"
  command -v apt-get >/dev/null || die "missing: $* (not a Debian machine, install them by hand)"
  say "installing: $*"
  local policy=/usr/sbin/policy-rc.d made=
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made=1
  fi
  local rc=0
  {
    apt-get -o DPkg::Lock::Timeout=300 update -qq &&
      DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y -qq --no-install-recommends "$@"
  } >"$cache/apt.log" 2>&1 </dev/null || rc=$?
  [[ -z $made ]] || rm -f "$policy"
  if ((rc)); then
    tail -20 "$cache/apt.log" >&2
    die "apt-get install $* failed"
  fi
}

# need COMMAND=PACKAGE...: installs each package whose command is missing.
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [[ ${#missing[@]} -eq 0 ]] || apt_install "${missing[@]}"
}

# pg_bindir prints the directory of PostgreSQL's server programs, which on Debian
# are not on the PATH. Installs them if they are missing.
pg_bindir() {
  find_pg_bindir && return
  apt_install postgresql
  find_pg_bindir || die "no initdb after installing postgresql"
}

find_pg_bindir() {
  local found
  if found=$(command -v initdb); then
    dirname "$(readlink -f "$found")"
    return
  fi
  found=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -1)
  [[ -n $found ]] && dirname "$found"
}

# pg_release VERSION prints a directory with the server programs of a PostgreSQL
# release and a pg_config that names them. Maven downloads them once, from where the
# embedded server gets its own.
pg_release() {
  local dir=$cache/postgresql-$1 arch=amd64 tmp
  [[ $(uname -m) != aarch64 ]] || arch=arm64v8
  if [[ ! -x $dir/bin/pg_config ]]; then
    need mvn=maven unzip=unzip xz=xz-utils
    say "fetching PostgreSQL $1"
    tmp=$(mktemp -d "$cache/postgresql-XXXXXX")
    mvn -q dependency:copy -DoutputDirectory="$tmp" \
      -Dartifact="io.zonky.test.postgres:embedded-postgres-binaries-linux-$arch:$1" >&2
    (cd "$tmp" && unzip -qo ./*.jar && tar -xJf ./*.txz && rm -rf ./*.jar ./*.txz META-INF)
    printf '#!/bin/sh\necho "%s/bin"\n' "$dir" >"$tmp/bin/pg_config"
    chmod -R a+rX "$tmp"
    chmod 755 "$tmp" "$tmp/bin/pg_config"
    rm -rf "$dir"
    mv "$tmp" "$dir"
  fi
  echo "$dir/bin"
}

# kafka_libs prints the directory with Apache Kafka's jars and their dependencies.
# Maven downloads them once.
kafka_libs() {
  local pom=$ci_dir/kafka-pom.xml dir tmp
  dir=$cache/kafka-$(sha256sum "$pom" | cut -c1-12)
  if [[ ! -d $dir ]]; then
    need mvn=maven
    say "downloading Apache Kafka's jars"
    tmp=$(mktemp -d "$cache/kafka-XXXXXX")
    mvn -B -q -f "$pom" dependency:copy-dependencies -DincludeScope=runtime \
      -DoutputDirectory="$tmp" </dev/null >&2
    chmod 755 "$tmp"
    mv -T "$tmp" "$dir"
  fi
  echo "$dir"
}
