"""What Redis does, each script in one step.

Times in Redis are those of a clock that only runs while somebody talks to it: each call moves it by the time since the
one before, and never by more than a second. So a Redis that stood still, or whose host's clock was set, ends nobody's
lease; and as every host beats twice a second, one that is gone loses its own within a lease's length.

Every command says everything (how much is held, not how much more or less) and carries a number that grows, so that
one that arrives late or twice changes nothing.

What Redis knows belongs to an *epoch*, which begins when there is none (it has forgotten everything), or when a host
shows that what is there is older than what it was told (a copy from before, or a replica that lagged). Until a new
epoch has *settled* nobody is given more: it has when all hosts have told what they hold that any of them knew to be
alive when the one before ended, which takes milliseconds; or, as one of them may be gone, after a lease's length.

Nothing here expires by Redis's own means, as what does may also be evicted where memory is scarce (`volatile-lru`). A
list says what may go when, and each command removes a little of that.
"""

from __future__ import annotations

from proxy.redis_link import Script

PREFIX = "loopway:{limits}:"
CHANNEL = "loopway:limits"

_CLOCK = """
local function keep(key, ends)
  redis.call('ZADD', KEYS[6], string.format('%.0f', ends), key)
end
local function tick()
  local t = redis.call('TIME')
  local now = t[1] + t[2] / 1000000
  local known = redis.call('HMGET', KEYS[1], 'last', 'at', 'settles', 'epoch')
  local at = tonumber(known[2] or 0)
  if known[1] then
    at = at + math.max(0, math.min(1, now - tonumber(known[1])))
  end
  redis.call('HSET', KEYS[1], 'last', string.format('%.6f', now), 'at', string.format('%.6f', at))
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', at, 'LIMIT', 0, 4)) do
    redis.call('DEL', key)
    redis.call('ZREM', KEYS[6], key)
  end
  return at, tonumber(known[3] or 0), known[4]
end
"""

SYNC = Script(
    _CLOCK
    + """
-- KEYS: clock, hosts alive (sorted by when they end), order of each host's last command, hosts that have told all that
--   they hold in this epoch, hosts that must have, what may go when
-- ARGV: host, order, lease, fresh, channel, epoch, order of the last command that was answered, whole, number of hosts
--   that must have told, these, then for each row: name, limit, held, wanted
local me, order, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local at, settles, epoch = tick()
local last = tonumber(redis.call('HGET', KEYS[3], me) or -1)
if not epoch or (epoch == ARGV[6] and last < tonumber(ARGV[7])) then
  -- Unless the first to speak is new itself, others may hold what they have not told yet.
  epoch = me .. ':' .. ARGV[2] .. ':' .. string.format('%.6f', at)
  settles, last = ARGV[4] == '1' and 0 or at + lease, -1
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'settles', settles)
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
  redis.call('PUBLISH', ARGV[5], me .. ':')
end
if order <= last then return {epoch, {}, -1} end
redis.call('HSET', KEYS[3], me, order)
if redis.call('ZADD', KEYS[2], at + lease, me) == 1 then redis.call('PUBLISH', ARGV[5], me .. ':') end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. at)) do
  redis.call('ZREM', KEYS[2], gone)
  redis.call('HDEL', KEYS[3], gone)
end
local first = 10 + tonumber(ARGV[9])
if settles > at then
  if ARGV[8] == '1' and epoch == ARGV[6] then
    redis.call('SADD', KEYS[4], me)
    for i = 10, first - 1 do redis.call('SADD', KEYS[5], ARGV[i]) end
  end
  if redis.call('EXISTS', KEYS[5]) == 1 and #redis.call('SDIFF', KEYS[5], KEYS[4]) == 0 then
    settles = 0
    redis.call('HSET', KEYS[1], 'settles', 0)
    redis.call('DEL', KEYS[4], KEYS[5])
  end
end
local alive, hosts = {}, redis.call('ZRANGE', KEYS[2], 0, -1)
for _, host in ipairs(hosts) do alive[host] = true end
local answer = {epoch, hosts, settles > at and 1 or 0}
for i = first, #ARGV, 4 do
  local key, limit = '"""
    + PREFIX
    + """c:' .. epoch .. ':' .. ARGV[i], tonumber(ARGV[i + 1])
  local held, wanted = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local others, wanting, taking, before, missed, ahead = 0, 0, 1, 0, 0, 0
  local all = redis.call('HGETALL', key)
  local own_held, _, own_last = string.match(redis.call('HGET', key, me) or '0:0:0', '(%d+):(%d+):([%d.]+)')
  local mine, my_last = tonumber(own_held), tonumber(own_last)
  for j = 1, #all, 2 do
    local h, w, last = string.match(all[j + 1], '(%d+):(%d+):([%d.]+)')
    h, w, last = tonumber(h), tonumber(w), tonumber(last)
    if all[j] == me then
      before, missed = h, w
    elseif alive[all[j]] then
      others = others + h
      if w > 0 then
        wanting = wanting + 1
        if h < mine or (h == mine and (last < my_last or (last == my_last and all[j] < me))) then
          ahead = ahead + 1
        end
      end
      if h > 0 or w > 0 then taking = taking + 1 end
    else
      redis.call('HDEL', key, all[j])
    end
  end
  local granted = math.max(0, math.min(wanted, limit - others - held))
  -- What is left over after an equal division goes to those who want it and have least, or had some longest ago.
  local share = math.floor(limit / taking)
  if wanted > 0 and ahead < limit - share * taking then share = share + 1 end
  if settles > at then granted = 0 end
  if wanting > 0 and held + granted > share then granted = math.max(0, math.min(granted, share - held)) end
  local unmet = wanted - granted
  held = held + granted
  if held == 0 and unmet == 0 then
    redis.call('HDEL', key, me)
  else
    local last = (held > 0 or before > 0) and at or my_last
    redis.call('HSET', key, me, held .. ':' .. unmet .. ':' .. string.format('%.6f', last))
    keep(key, at + 86400)
  end
  if (unmet > 0 and missed == 0 and others > 0) or (wanting > 0 and held < before) or others + held > limit then
    redis.call('PUBLISH', ARGV[5], me .. ':' .. ARGV[i])
  end
  answer[#answer + 1] = held
  -- While nobody can be given it, nobody gives up what lies idle.
  answer[#answer + 1] = ((wanting > 0 and settles <= at) or others + held > limit) and share or -1
  answer[#answer + 1] = unmet
end
return answer
"""
)
"""Renews a host's lease and settles what it holds of some rows.

`whole`: with this command the host has told all that it holds in the epoch it names. Gives the epoch, which hosts are
alive, and whether the epoch has still to settle (-1: the command was stale). Then for each row: what is held now; the
fair share, if others want some or there are too many (else -1); how much of what was wanted is missing."""

TAKE = Script(
    _CLOCK
    + """
-- KEYS: as above. ARGV for each: row, field, limit, interval, least, most, given back, seed, reset, synced, brings
local at = tick()
local answer = {}
for i = 1, #ARGV, 11 do
  local key, field = '"""
    + PREFIX
    + """q:' .. ARGV[i], ARGV[i + 1]
  local limit, interval = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local least, most, back = tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6])
  local granted, wait, left, reset = 0, 0, 0, 0
  local known = tonumber(redis.call('HGET', key, field))
  if string.sub(field, 1, 1) == 'r' then
    local arrival = math.max(known or 0, at) - back * interval
    left = math.max(0, math.floor(limit - math.max(0, arrival - at) / interval + 0.000001))
    if least > 0 then
      if left >= least then
        granted = math.min(left, most)
        arrival = math.max(arrival, at) + granted * interval
        left = left - granted
      else
        wait = math.max(0.001, arrival + least * interval - at - limit * interval)
      end
    end
    redis.call('HSET', key, field, string.format('%.6f', arrival))
  else
    local seed = tonumber(ARGV[i + 7])
    local taken = known or seed
    reset = tonumber(redis.call('HGET', key, 'reset') or 0)
    if tonumber(ARGV[i + 8]) > reset then
      -- What this host holds is on its way still: it counts in the window that begins now.
      reset, taken = tonumber(ARGV[i + 8]), seed
      redis.call('HSET', key, 'reset', ARGV[i + 8])
    elseif known and tonumber(ARGV[i + 9]) < reset then
      -- So does what another one held when it began.
      taken = known + tonumber(ARGV[i + 10])
    end
    taken = taken - back
    if least > 0 and taken < limit then
      granted = math.max(least, math.min(limit - taken, most))
      taken = taken + granted
    end
    left = limit - taken
    redis.call('HSET', key, field, string.format('%.0f', taken))
  end
  keep(key, at + 34560000)
  answer[#answer + 1] = string.format('%.0f', granted)
  answer[#answer + 1] = string.format('%.6f', wait)
  answer[#answer + 1] = string.format('%.0f', left)
  answer[#answer + 1] = string.format('%.0f', reset)
end
return answer
"""
)
"""Takes slices of rates and budgets, and gives back. Gives for each: what was granted (all of `least` or nothing), else
the seconds until it might be, what is left, and when the budget was last reset (Unix seconds).

A host's first command in a window, or after a reset, `brings` what it held by then: `synced` is the reset up to which
Redis has counted that, -1 in a window in which it has not."""

LEAVE = Script(
    """
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('SADD', KEYS[4], ARGV[1])
redis.call('EXPIRE', KEYS[4], 60)
redis.call('PUBLISH', ARGV[2], ARGV[1] .. ':')
return 1
"""
)
"""A host says good-bye: all it held is free, and nobody waits for what it has to tell."""

KEYS = tuple(f"{PREFIX}{name}" for name in ("clock", "hosts", "order", "told", "awaited", "ends"))
