-- Ends a session: what it still counts is gone.
--
-- ARGV: session.
return redis.call('HDEL', 'farebox:sessions', ARGV[1])
