-- Alert: what is stored is not what was shipped. Must find nothing.
SELECT finding, endpoint, source, epoch, first_sequence, last_sequence, detail
FROM conntrail.tamper
ORDER BY ALL;
