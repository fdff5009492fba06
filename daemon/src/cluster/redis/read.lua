-- Reads a part of a set with the head that it belongs to.
-- KEYS: nodes, set. ARGV: boot, cursor, how many records about.
-- Returns nothing if the set or its entry is not there, or is none, or the two differ in
-- version; otherwise {sealed head, next cursor, fields and values}.
local version = redis.pcall('HGET', KEYS[2], '')
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if type(version) ~= 'string' or not entry or entry:sub(49, 64) ~= version then
    return {}
end
local page = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
return { entry:sub(49), page[1], page[2] }
