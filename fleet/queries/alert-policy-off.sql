-- Alert: the privacy policy of a machine is not the one that it should be.
SELECT endpoint, any(hostname) AS host, max(time) AS since, argMax(state, (time, sequence)) AS now_is
FROM conntrail.notices
WHERE notice = 'policy_changed' AND source = ''
GROUP BY endpoint
HAVING now_is != 'in_force'
ORDER BY since;
