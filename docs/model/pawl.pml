/*
 * The protocol of Pawl: how records move from a Kafka partition into PostgreSQL
 * exactly once, whatever fails in between. README.md in this directory says what
 * the model includes and leaves out, and what spin finds.
 *
 * "code: FILE FUNCTION" names the function that the next lines model. A Go test
 * checks that these functions exist.
 *
 *   -DFAULTS=n       at most n faults; without it, any number
 *   -DSWAP_COMMIT    mutation: commit offsets before the transaction
 *   -DNO_GUARD       mutation: writes do not check the version that was read
 *   -DNO_MESSAGES    mutation: a worker does not remember which messages have moved a row
 */

#define WORKERS 2
#define MSGS    4
#define NOBODY  255
#define ANY     255

#define bit(m)    (1 << (m))
#define has(s, m) (((s) & bit(m)) != 0)

/*
 * One partition with four messages for two entities. An entity's state is its
 * version. In order and without faults:
 *
 *   0  entity 0, legal at any version: applied, and legal again when redelivered
 *   1  entity 1, legal at version 1:   early, so it is parked
 *   2  entity 1, legal at version 0:   applied, and releases message 1
 *   3  entity 0, legal at version 0:   rejected, so it becomes a dead letter
 */
#define entityOf(m) ((m) == 1 || (m) == 2)
#define needs(m)    ((m) == 0 -> ANY : ((m) == 1 -> 1 : 0))

/* Kafka: the partition's owner, the group's members, the committed offset. */
byte owner = NOBODY;
bool member[WORKERS];
byte committed;

/* PostgreSQL: rows, history (how often each message was applied), parked records, dead letters. */
byte version[2];
byte applied[MSGS];
byte byFirst[2];        /* the message that made version 1 of an entity, plus one */
byte parked, seen[MSGS];
byte dead;

/* A worker's memory that the client's callbacks change. */
bool mine[WORKERS];     /* it believes that it owns the partition */
byte next[WORKERS];     /* next offset to poll */
bool current[WORKERS];  /* the current batch was polled during the current ownership */
bool ahead[WORKERS];    /* so was the batch that was polled ahead */
byte pending[WORKERS];  /* offset to commit, 0 if none */

byte stopped;           /* number of workers that have stopped cleanly */
bool swept;             /* the sweep has ended */
bool ended;

#ifdef FAULTS
byte faults = FAULTS;
#define mayFail (faults > 0)
#define fail    faults--
#else
#define mayFail true
#define fail    skip
#endif

/* --- what must hold -------------------------------------------------------- */

/* A message has taken effect, or is parked or a dead letter. */
#define isKept(m) (applied[m] > 0 || has(parked, m) || has(dead, m))

/* The committed offset is never ahead of the database, and never goes back. */
inline checkCommit(offset) {
#ifndef SWAP_COMMIT  /* commits ahead on purpose; the question is what gets lost */
	for (i : 0 .. offset - 1) { assert(isKept(i)) }
	assert(offset >= committed)
#endif
	i = 0
}

/* No message is applied twice, or both applied and a dead letter. */
inline checkWrite() {
	for (i : 0 .. MSGS - 1) {
		assert(applied[i] <= 1);
		assert(!(applied[i] > 0 && has(dead, i)))
	}
	i = 0
}

/* Nothing is lost: at the end each message was applied once or is a dead letter. */
inline checkEnd() {
	for (i : 0 .. MSGS - 1) {
		assert(applied[i] == 1 || has(dead, i));
		assert(!has(parked, i))
	}
	assert(committed == MSGS)
}

/* Everything is done eventually, after the faults have ended. */
ltl done { <> ended }

/* --- one transaction of the store ------------------------------------------ */

/*
 * The fold judges one message against the entity as earlier messages left it.
 *
 * code: versioning/judge.go judge
 * code: versioning/judge.go past
 * code: versioning/judge.go byMessage
 * code: versioning/judge.go notNow
 */
mtype = { Applied, Duplicate, Early, Rejected };

inline judge(m) {
	if
	:: has(taken, m)                                    -> verdict = Duplicate
	:: !has(taken, m) && (needs(m) == ANY || needs(m) == at) -> verdict = Applied; at++;
		taken = taken | bit(m); steps = steps | bit(m)
	:: !has(taken, m) && needs(m) != ANY && needs(m) > at    -> verdict = Early
	:: !has(taken, m) && needs(m) < at                  -> verdict = Rejected
	fi
}

/*
 * Judges the messages that wait for the entity again. Only message 1 ever waits.
 *
 * code: versioning/park.go wake
 * code: versioning/park.go release
 * code: versioning/park.go settle
 * code: versioning/park.go stillWaiting
 */
inline wake() {
	if
	:: has(waits, 1) ->
		judge(1);
		if
		:: verdict == Early -> toSee = at
		:: else ->
			waits = waits & ~bit(1);
			if
			:: has(stored, 1) -> toFree = toFree | bit(1)
			:: else           -> toPark = toPark & ~bit(1)
			fi;
			if
			:: verdict == Rejected -> toDie = toDie | bit(1)
			:: else -> skip
			fi
		fi
	:: else -> skip
	fi
}

/*
 * One message of the batch.
 *
 * code: versioning/fold.go record
 * code: versioning/fold.go decide
 * code: versioning/park.go waitFromBatch
 * code: versioning/fold.go deadLetter
 */
inline foldMessage(m) {
	if
	:: has(died | toDie | waits, m) -> skip     /* it already has a verdict */
	:: else ->
		judge(m);
		if
		:: verdict == Applied  -> wake()
		:: verdict == Early    -> waits = waits | bit(m); toPark = toPark | bit(m); toSee = at
		:: verdict == Rejected -> toDie = toDie | bit(m)
		:: verdict == Duplicate -> skip
		fi
	fi
}

inline forget() { recalled = false; from = 0; at = 0; steps = 0; toPark = 0; toFree = 0; toDie = 0; toSee = 0 }

/* code: versioning/fold.go Fold */
inline fold() {
	at = from; waits = stored;
	steps = 0; toPark = 0; toFree = 0; toDie = 0; toSee = 0;
	wake();
	for (i : 0 .. MSGS - 1) {
		if
		:: has(share, i) -> foldMessage(i)
		:: else -> skip
		fi
	}
	i = 0; verdict = 0; taken = 0; stored = 0; died = 0; waits = 0
}

/*
 * The transaction reads at READ COMMITTED: each statement sees what others have
 * committed before it. The fold runs in memory.
 *
 * code: versioning/postgres/settle.go transact
 * code: versioning/postgres/read.go read
 */
inline readAndFold() {
	/* code: versioning/postgres/dead_letters.go readDead */
	/* code: versioning/postgres/rows_read.go readRows */
	d_step { died = dead; from = version[e]; stored = (e == 1 -> parked : 0) };
	/* code: versioning/postgres/lookups.go readPast */
	d_step {
		taken = 0;
		for (i : 0 .. MSGS - 1) {
			if
			:: applied[i] > 0 -> taken = taken | bit(i)
			:: else -> skip
			fi
		}
		fold()
	}
}

/*
 * A worker may use what it remembers of an entity instead, or assume that it does not exist: the
 * row as it was at any time, with the messages that had moved it by then. It does so only if each
 * message of the batch makes a step. Since what is remembered may be old, nothing is left out if
 * the write follows at once.
 *
 * code: versioning/postgres/recall.go recall
 * code: versioning/postgres/recall.go holds
 * code: versioning/postgres/memory.go memo
 */
inline recallAndFold() {
	if
	:: from = 0
	:: version[e] >= 1 -> from = 1
	:: version[e] >= 2 -> from = 2
	fi;
	d_step {
#ifndef NO_MESSAGES
		if
		:: from == 1 -> taken = bit(byFirst[e] - 1)
		:: from == 2 ->
			for (i : 0 .. MSGS - 1) {
				if
				:: applied[i] > 0 -> taken = taken | bit(i)
				:: else -> skip
				fi
			}
		:: else -> skip
		fi;
#endif
		fold();
		if
		:: steps == share && toPark == 0 && toDie == 0 -> recalled = true
		:: else -> forget()
		fi
	}
}

/*
 * Writes and commits everything in one step: guarded writes lock their rows until
 * the transaction ends.
 *
 * code: versioning/postgres/write.go statements
 * code: versioning/postgres/write.go guarded
 * code: versioning/postgres/rows_write.go updateSQL
 * code: versioning/postgres/stored.go remove
 * code: versioning/postgres/recall.go noneParked
 * code: versioning/postgres/not_dead.go stepsNotDead
 */
#ifdef NO_GUARD
#define guardHolds true
#else
#define guardHolds ((steps == 0 || version[e] == from) && (toFree & ~parked) == 0)
#endif
#define recallHolds ((share & dead) == 0 && (e == 0 || parked == 0))

inline write() {
	for (i : 0 .. MSGS - 1) {
		if
		:: has(steps, i) -> applied[i]++;
			if
			:: byFirst[e] == 0 -> byFirst[e] = i + 1
			:: else -> skip
			fi
		:: else -> skip
		fi;
		if  /* ON CONFLICT DO NOTHING, and the UPDATE of a message that keeps waiting */
		:: has(toPark, i) && !has(parked, i) -> seen[i] = toSee; parked = parked | bit(i)
		:: !has(toPark, i) && i == 1 && has(parked, i) && toSee > 0 -> seen[i] = toSee
		:: else -> skip
		fi
	}
	if
	:: steps != 0 -> version[e] = at
	:: else -> skip
	fi;
	parked = parked & ~(toFree | toDie);
	dead = dead | toDie;
	checkWrite();
	forget()
}

/* --- a worker --------------------------------------------------------------- */

/* A process may be killed between any two steps. */
inline crashPoint() {
	if
	:: atomic { mayFail -> fail; goto crash }
	:: true
	fi
}

/*
 * A commit: the broker accepts it only from members of the current generation, and
 * the request or its answer may be lost. It is one step, because the partition can't
 * be revoked between the ownership check and the answer.
 *
 * code: consumer/commit.go commitPending
 * code: consumer/commit.go take
 * code: consumer/ownership.go whileOwned
 */
inline commitOffsets() {
	if
	:: pending[w] > 0 && member[w] ->
		if
		:: checkCommit(pending[w]); committed = pending[w];
			if
			:: mayFail -> fail      /* the answer is lost: it stays pending */
			:: pending[w] = 0
			fi
		:: mayFail -> fail              /* the request is lost */
		fi
	:: else -> skip                         /* none, or refused */
	fi
}

/*
 * Commits offsets concurrently with later batches, at any time.
 *
 * code: consumer/commit.go start
 * code: consumer/ownership.go onRevoked
 */
proctype Committer(byte w) {
	byte i;
	do
	:: atomic { pending[w] > 0 && member[w] -> commitOffsets() }
	:: stopped == WORKERS -> break
	od
}

/*
 * Trouble: the worker retries the remaining messages, unless it has lost the
 * partition. Then it drops them without a verdict.
 *
 * code: consumer/apply.go reportTrouble
 * code: consumer/apply.go stillOwned
 */
inline waitOut() {
	if
	:: !current[w] -> share = 0
	:: else -> skip
	fi
}

/* The answer to the COMMIT, which may be lost. */
inline answer() {
	if
	:: mayFail -> fail; waitOut()
	:: settled = settled | share; share = 0
	fi
}

inline pollInto(from_, to_) {
	from_ = next[w];
	to_ = from_ + 1;
	if
	:: to_ < MSGS -> to_++
	:: true
	fi;
	next[w] = to_
}

/*
 * With lag, the worker polls and decodes the next batch while it applies the current one.
 *
 * code: consumer/run.go isBehind
 */
inline lookAhead() {
	if
	:: atomic { nextEnd == 0 && mine[w] && next[w] < MSGS -> pollInto(nextFirst, nextEnd); ahead[w] = true }
	:: true
	fi
}

proctype Worker(byte w) {
	byte first, end, nextFirst, nextEnd, share, settled, e, i;
	byte died, from, stored, taken, at, waits, steps, toPark, toFree, toDie, toSee;
	bool recalled;
	mtype verdict;

	/* code: consumer/run.go loop */
poll:
	do
	/* code: consumer/poll.go poll */
	/* code: consumer/poll.go gather */
	:: atomic { nextEnd == 0 && mine[w] && next[w] < MSGS -> pollInto(first, end); current[w] = true; break }
	/* code: consumer/run.go handOver */
	:: atomic { nextEnd > 0 -> first = nextFirst; end = nextEnd; current[w] = ahead[w];
		nextFirst = 0; nextEnd = 0; ahead[w] = false; break }
	/* code: consumer/leave.go leave */
	:: atomic { committed == MSGS && pending[w] == 0 && nextEnd == 0 -> goto stop }
	:: atomic { mine[w] && mayFail -> fail; goto crash }
	od;

#ifdef SWAP_COMMIT
	atomic {
		if
		:: current[w] -> pending[w] = end
		:: else -> skip
		fi;
		commitOffsets()
	};
#endif

	/*
	 * The worker splits the batch by entity into transactions. The model runs them
	 * one after another; concurrent transactions come from the other worker.
	 *
	 * code: consumer/apply.go apply
	 */
	e = 0;
	do
	:: e < 2 ->
		if
		:: e == 1 -> lookAhead()
		:: else   -> skip
		fi;
		d_step {
			share = 0;
			for (i : 0 .. MSGS - 1) {
				if
				:: current[w] && first <= i && i < end && entityOf(i) == e -> share = share | bit(i)
				:: else -> skip
				fi
			}
			i = 0
		};
		/* code: consumer/apply.go settle */
		do
		:: share == 0 -> break
		:: else ->
			if
			:: atomic { recallAndFold();
				if
				:: recalled && guardHolds && recallHolds -> write(); answer()
				:: else -> forget()             /* read */
				fi }
			:: true
			fi;
			if
			:: share == 0 -> break
			:: else
			fi;
			readAndFold();
			crashPoint();
			if
			:: atomic { guardHolds -> write(); answer() }
			:: atomic { !guardHolds -> forget() }   /* another writer changed the row: retry */
			:: atomic { mayFail -> fail; forget(); waitOut() } /* rolled back */
			fi
		od;
		e++
	:: else -> break
	od;

#ifndef SWAP_COMMIT
	/*
	 * Commits up to the first message without a verdict, and only while the worker
	 * still has the ownership in which it polled the batch.
	 *
	 * code: consumer/commit.go add
	 * code: consumer/partitions.go advance
	 */
	atomic {
		i = first;
		do
		:: i < end && has(settled, i) -> i++
		:: else -> break
		od;
		if
		:: current[w] && i > first -> pending[w] = i
		:: else -> skip
		fi;
		i = 0; e = 0
	};
	crashPoint();
#endif
	atomic { first = 0; end = 0; settled = 0; share = 0; e = 0; current[w] = false };
	goto poll;

	/* The worker loses its memory and starts again. The group notices later. */
crash:
	atomic {
		mine[w] = false; member[w] = false; next[w] = 0; current[w] = false;
		pending[w] = 0;
		first = 0; end = 0; share = 0; settled = 0; e = 0; i = 0;
		nextFirst = 0; nextEnd = 0; ahead[w] = false;
		died = 0; from = 0; stored = 0; taken = 0; at = 0; waits = 0;
		steps = 0; toPark = 0; toFree = 0; toDie = 0; toSee = 0; verdict = 0;
		recalled = false
	};
	goto poll;

stop:
	stopped++
}

/* --- the group --------------------------------------------------------------- */

#define isZombie(w) (mine[w] && !member[w])

inline assign(w) { owner = w; member[w] = true; mine[w] = true; next[w] = committed }
inline lose(w)   { mine[w] = false; current[w] = false; ahead[w] = false; pending[w] = 0 }

proctype Group() {
	do
	/*
	 * A worker gets the partition and continues at the committed offset.
	 *
	 * code: consumer/ownership.go onAssigned
	 * code: consumer/begin.go onOffsetsFetched
	 */
	:: atomic { owner == NOBODY && stopped == 0 && !isZombie(0) -> assign(0) }
	:: atomic { owner == NOBODY && stopped == 0 && !isZombie(1) -> assign(1) }
	/*
	 * A rebalance revokes it: between two batches, or in the middle of a batch that
	 * delays the rebalance for too long or is in trouble.
	 *
	 * code: consumer/hold.go hold
	 * code: consumer/ownership.go onRevoked
	 */
	:: atomic { owner != NOBODY && mine[owner] && member[owner] && mayFail -> fail;
		lose(owner); owner = NOBODY }
	/*
	 * The session times out: the worker is dead, asleep or disconnected. If it is
	 * alive, it is now a zombie.
	 */
	:: atomic { owner != NOBODY && member[owner] && mayFail -> fail;
		member[owner] = false; owner = NOBODY }
	:: atomic { owner != NOBODY && !member[owner] -> owner = NOBODY }
	/*
	 * The zombie learns that it has lost the partition.
	 *
	 * code: consumer/ownership.go onLost
	 */
	:: atomic { isZombie(0) -> lose(0) }
	:: atomic { isZombie(1) -> lose(1) }
	:: stopped == WORKERS -> break
	od
}

/* --- the sweep ---------------------------------------------------------------- */

/*
 * Judges parked messages again whose entity has moved since they were last judged.
 *
 * code: consumer/maintain.go sweep
 * code: versioning/postgres/sweep.go Sweep
 * code: versioning/postgres/sweep.go wakeMoved
 * code: versioning/postgres/sweep.go refold
 * code: versioning/fold.go Refold
 */
proctype Sweeper() {
	byte share, e, i;
	byte died, from, stored, taken, at, waits, steps, toPark, toFree, toDie, toSee;
	bool recalled;
	mtype verdict;
	e = 1;
	do
	:: has(parked, 1) && seen[1] != version[1] ->
		readAndFold();
		if
		:: d_step { guardHolds -> write() }
		:: d_step { !guardHolds -> forget() }
		fi
	:: atomic { stopped == WORKERS && !(has(parked, 1) && seen[1] != version[1]) -> break }
	od;
	swept = true
}

init {
	byte i;
	atomic { assign(0); run Worker(0); run Worker(1); run Committer(0); run Committer(1); run Group(); run Sweeper() };
	atomic { stopped == WORKERS && swept -> checkEnd(); ended = true }
}
