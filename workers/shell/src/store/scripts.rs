//! The Lua that runs inside Redis. Each script is atomic; what it decides is specified by [`super::guard`].

use super::LaneWrite;

/// Many rows a call. KEYS: the version of the erasures, row keys. ARGV: the head's field, the time to live in ms (0: none),
/// the version that the writer knows, then for each row its [`header`], the names and bytes of the fields to set, and the
/// names of those to remove. Answers one digit for each row: 0 written, 1 superseded, 2 lost, 3 needs whole, 4 fenced.
///
/// The stored offset is bytes 9 to 17 of the head, big-endian. Offsets are below 2^53, so Lua's numbers hold them. The time to
/// live stays the text it is: of a number Redis makes text for every row.
pub(super) const FLUSH: &str = r"
local call, read = redis.call, struct.unpack
local head, ttl, at, out = ARGV[1], ARGV[2], 4, {}
if (call('GET', KEYS[1]) or '0') ~= ARGV[3] then
  for k = 2, #KEYS do out[k - 1] = 4 end
  return out
end
for k = 2, #KEYS do
  local base, new, flags, sets, removals = read('>llBBB', ARGV[at])
  local first, last = at + 1, at + 2 * sets
  at = last + removals + 1
  local whole, expired = flags % 2 == 1, flags >= 2
  local stored = call('HGET', KEYS[k], head)
  if stored then stored = read('>l', stored, 10) end
  local result
  if not stored then
    if base < 0 or expired then result = 0 else result = 2 end
  elseif stored >= new then result = 1
  elseif stored < base then result = 2
  elseif whole or stored == base then result = 0
  else result = 3 end
  if result == 0 then
    call('HSET', KEYS[k], unpack(ARGV, first, last))
    if removals > 0 then call('HDEL', KEYS[k], unpack(ARGV, last + 1, at - 1)) end
    if ttl ~= '0' then call('PEXPIRE', KEYS[k], ttl) end
  end
  out[k - 1] = result
end
return out
";

/// What heads a row's part of [`FLUSH`]'s arguments: base (-1: none) and new, each 8 bytes, big-endian; flags (1: whole, 2: may
/// have expired), how many fields are set, and how many removed, a byte each. Numbers in text would cost Redis's one thread
/// a tenth of its time.
pub(super) fn header(write: &LaneWrite) -> [u8; 19] {
    let mut bytes = [0; 19];
    bytes[..8].copy_from_slice(&write.base.unwrap_or(-1).to_be_bytes());
    bytes[8..16].copy_from_slice(&write.new.to_be_bytes());
    bytes[16] = u8::from(write.whole) + 2 * u8::from(write.may_have_expired);
    // A segment's number is a byte, and no two of a lane are equal but for all 256, which no lane has.
    let count = |len: usize| u8::try_from(len).unwrap_or(u8::MAX);
    (bytes[17], bytes[18]) = (count(write.segments.len()), count(write.removed.len()));
    bytes
}

/// One marker. KEYS: the marker hash, the version of the erasures. ARGV: field, text, its offset, base (-1: none), how many
/// partitions the topic has: never fewer than before, for a worker may not have heard of new ones yet; the version that the
/// writer knows. Answers as [`FLUSH`] does.
pub(super) const MARKER: &str = r"
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[6] then return 4 end
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local new, base, at = tonumber(ARGV[3]), tonumber(ARGV[4]), -1
if stored then at = tonumber(string.match(stored, '^(-?%d+):')) end
if at > new then return 1 end
if at < base then return 2 end
local partitions = tonumber(redis.call('HGET', KEYS[1], 'partitions') or '0')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], 'partitions', math.max(partitions, tonumber(ARGV[5])))
return 0
";

/// One entry of a catalog. KEYS: the catalog, its version. ARGV: the view, its entry (empty: remove it).
///
/// The version rises with every write, and never comes back after the catalog was empty and its version gone: it is the
/// server's clock in microseconds, or one more than before.
pub(super) const CATALOG: &str = r"
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
  return 0
end
local now = redis.call('TIME')
local version = tonumber(now[1]) * 1000000 + tonumber(now[2])
local stored = tonumber(redis.call('GET', KEYS[2]) or '0')
if stored >= version then version = stored + 1 end
redis.call('SET', KEYS[2], string.format('%.0f', version))
return 1
";

/// A pointer's compare-and-set. KEYS: the pointer. ARGV: the fence that must stand (empty: no pointer), the new JSON.
/// Answers 1 if it was set.
pub(super) const SWAP: &str = r"
local stored = redis.call('GET', KEYS[1])
local fence = ''
if stored then fence = string.format('%.0f', cjson.decode(stored).fence) end
if fence ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
";

/// The erasure of one entity's rows. KEYS: who was erased, the version of that, the erasure that is under way, then for each
/// incarnation its row and its markers. ARGV: the entity, the tombstone that was seen (empty: none), the new one, what this
/// erasure covers, how many partitions it names, for each of them its number and where a marker may stand at most, and for
/// each incarnation its name. Answers how many rows there were, or -1 if another tombstone stands there.
///
/// A row is removed once for one erasure, with what it holds of later events, so a marker behind them goes back to where
/// they are read again (of a partition that is not named, to its beginning); lanes of others have them, and are not written.
/// Later rows are made by who knows the tombstone.
pub(super) const ERASE: &str = r"
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return -1 end
local partitions, removed = tonumber(ARGV[5]), 0
local name, news = 6 + 2 * partitions, ARGV[2] ~= ARGV[3]
local floors = {}
for i = 6, name - 1, 2 do floors[ARGV[i]] = ARGV[i + 1] end
for i = name, #ARGV do
  if redis.call('HGET', KEYS[3], ARGV[i]) ~= ARGV[4] then news = true end
end
if not news then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
local now = redis.call('TIME')
local version = tonumber(now[1]) * 1000000 + tonumber(now[2])
local stored = tonumber(redis.call('GET', KEYS[2]) or '0')
if stored >= version then version = stored + 1 end
redis.call('SET', KEYS[2], string.format('%.0f', version))
for k = 4, #KEYS, 2 do
  if redis.call('HGET', KEYS[3], ARGV[name]) ~= ARGV[4] then
    if redis.call('UNLINK', KEYS[k]) == 1 then
      removed = removed + 1
      local markers = redis.call('HGETALL', KEYS[k + 1])
      for i = 1, #markers, 2 do
        local at, rest = string.match(markers[i + 1], '^(-?%d+)(:.*)$')
        local floor = floors[markers[i]] or '0'
        if at and tonumber(at) > tonumber(floor) then
          redis.call('HSET', KEYS[k + 1], markers[i], floor .. rest)
        end
      end
    end
    redis.call('HSET', KEYS[3], ARGV[name], ARGV[4])
  end
  name = name + 1
end
return removed
";
