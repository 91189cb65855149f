-- name: be_brief(lock_timeout, idle_timeout)!
-- For this transaction only: give way to live workers who want the same rows, and don't outlive a frozen process.
SELECT set_config('lock_timeout', :lock_timeout, true),
       set_config('idle_in_transaction_session_timeout', :idle_timeout, true);

-- name: ping()$
-- Fails in a transaction in which something has failed, and nowhere else.
SELECT 1;
