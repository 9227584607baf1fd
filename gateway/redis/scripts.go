package redis

import "github.com/redis/rueidis"

// All scripts but foundScript may write although the server is full: what they store is the
// outcome of requests that were let in before, so it is bounded by the number of requests in
// progress. They read with pcall: to read a value of another type, which another program has put
// there, is an error, and for these scripts that is just another value.

// finishScript stores a response (ARGV[2]) for ARGV[3] milliseconds if the key holds the
// run's lock (ARGV[1]), nothing, or this response already. It returns OK, or the first byte
// of what the key holds instead, which may be empty.
var finishScript = rueidis.NewLuaScript(`#!lua flags=allow-oom
local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] or held == ARGV[2] or not held then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 'OK'
end
return type(held) == 'string' and string.sub(held, 1, 1) or ''`)

// foundScript stores a response that the decider had before (ARGV[1]) for ARGV[2] milliseconds,
// unless the key holds one: that was stored later. A full server refuses it.
var foundScript = rueidis.NewLuaScript(`#!lua
local held = redis.pcall('GET', KEYS[1])
if type(held) ~= 'string' or #held < 2 or string.sub(held, 1, 1) ~= 'R' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 'OK'`)

// releaseScript deletes the key if it holds the run's lock.
var releaseScript = rueidis.NewLuaScript(`#!lua flags=allow-oom
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 'OK'`)

// renewScript lets the run's lock live for another ARGV[2] milliseconds. If the key holds
// nothing, because the server was flushed or has lost its last writes, it locks again. It
// returns OK, or LOST if the key holds something else.
var renewScript = rueidis.NewLuaScript(`#!lua flags=allow-oom
local held = redis.pcall('GET', KEYS[1])
if held == ARGV[1] or not held then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 'OK'
end
return 'LOST'`)

// capScript limits what is left of somebody else's lock (ARGV[1]) to its lease (ARGV[2]). It
// is more if the server's clock has been set back: without this, the key of a dead process
// would be stuck until the clock has caught up.
var capScript = rueidis.NewLuaScript(`#!lua flags=allow-oom
local left = redis.call('PTTL', KEYS[1])
if redis.pcall('GET', KEYS[1]) == ARGV[1] and (left > tonumber(ARGV[2]) or left == -1) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 'OK'`)
