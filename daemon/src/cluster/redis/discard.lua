-- Removes the entry and set of a boot if the stored version is one that its owner has never
-- given. KEYS: nodes, set. ARGV: boot, version. Returns {1}.
if try('HGET', KEYS[2], '') == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('UNLINK', KEYS[2])
end
return { 1 }
