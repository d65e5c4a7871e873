-- Alert: something is missing, and nobody says why. Must find nothing.
SELECT endpoint, host, source, epoch, last_known, sequences_missing, rows_missing, unexplained
FROM conntrail.ledger
WHERE unexplained > 0
    -- What was published within the last ten minutes may still be under way.
    AND (last_published < now() - INTERVAL 10 MINUTE OR is_ended)
ORDER BY unexplained DESC;
