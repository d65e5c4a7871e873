-- Alert: a machine says nothing, and did not say that it would not.
SELECT endpoint, host, last_heard, last_word
FROM conntrail.silent
WHERE state = 'broken'
ORDER BY last_heard;
