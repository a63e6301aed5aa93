//! The Lua that runs inside Redis. Each script is atomic, and guarded: it answers -1, having changed nothing, unless the
//! lease is held, -2 unless the head is still the one that the run saw (after a rollback the slot it writes to may be the
//! one that is served), and -3 if somebody was erased of whom the run does not know.

/// A script behind the guard. KEYS: the lease, the head, the version of the erasures, what the script says. ARGV: the token,
/// the fence that the head must have (empty: no head), the version that must stand, what the script says.
macro_rules! guarded {
    ($script:literal) => {
        concat!(
            r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local stands, fence = redis.call('GET', KEYS[2]), ''
if stands then fence = string.format('%.0f', cjson.decode(stands).fence) end
if fence ~= ARGV[2] then return -2 end
if (redis.call('GET', KEYS[3]) or '0') ~= ARGV[3] then return -3 end",
            $script
        )
    };
}

/// Before the first row. KEYS: what says which generation is written. ARGV: its number. Answers 1.
pub(super) const BEGIN: &str = guarded!(
    r"
redis.call('SET', KEYS[4], ARGV[4])
return 1
"
);

/// Many rows a call. KEYS: row keys. ARGV: the slot's head field, then for each row how many fields to set, and their names
/// and bytes. Other segments of the slot, of the generation that stood there before, are removed. A row that a head may
/// name does not expire. Answers how many rows there were.
pub(super) const WRITE: &str = guarded!(
    r"
local slot, at = ARGV[4], 5
local inside = slot .. '.'
for k = 4, #KEYS do
  local first = at + 1
  local last = at + 2 * tonumber(ARGV[at])
  at = last + 1
  local set = {}
  for i = first, last, 2 do set[ARGV[i]] = true end
  for _, field in ipairs(redis.call('HKEYS', KEYS[k])) do
    if string.sub(field, 1, #inside) == inside and not set[field] then redis.call('HDEL', KEYS[k], field) end
  end
  redis.call('HSET', KEYS[k], unpack(ARGV, first, last))
  redis.call('PERSIST', KEYS[k])
end
return #KEYS - 3
"
);

/// Empties a slot of many rows. KEYS: row keys. ARGV: the slot's head field, the first and last generation that are
/// removed, the time to live in ms of a row that has nothing but stream lanes left (0: none); one with another generation
/// may be served, and goes on without an end. The stored generation is bytes 9 to 17 of the head, big-endian. Answers of how
/// many rows something was removed.
pub(super) const REMOVE: &str = guarded!(
    r"
local slot, first, last, ttl = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local inside, removed = slot .. '.', 0
for k = 4, #KEYS do
  local head = redis.call('HGET', KEYS[k], slot)
  if head then
    local stored = struct.unpack('>l', head, 10)
    if stored >= first and stored <= last then
      local other = false
      for _, field in ipairs(redis.call('HKEYS', KEYS[k])) do
        if field == slot or string.sub(field, 1, #inside) == inside then redis.call('HDEL', KEYS[k], field)
        elseif string.sub(field, 1, 1) == 'b' then other = true end
      end
      if ttl > 0 and not other then redis.call('PEXPIRE', KEYS[k], ttl) end
      removed = removed + 1
    end
  end
end
return removed
"
);

/// The flip. KEYS: what stands beside the head. ARGV: the new head, what stands beside it. Answers 1.
pub(super) const FLIP: &str = guarded!(
    r"
redis.call('SET', KEYS[2], ARGV[4])
redis.call('SET', KEYS[4], ARGV[5])
return 1
"
);
