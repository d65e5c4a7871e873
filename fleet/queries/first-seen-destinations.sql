-- Which named destinations of the last hour had nobody called in the 30 days before, and who did?
SELECT
    remote_host,
    min(start_time) AS first_seen,
    uniq(endpoint) AS endpoints,
    groupUniqArray(5)(process_name) AS processes
FROM conntrail.connections
WHERE direction != 'inbound' AND remote_host != '' AND start_time >= now() - INTERVAL 1 HOUR
    AND remote_host NOT IN
    (
        SELECT remote_host
        FROM conntrail.connections
        WHERE direction != 'inbound' AND remote_host != ''
            AND start_time >= now() - INTERVAL 30 DAY AND start_time < now() - INTERVAL 1 HOUR
    )
GROUP BY remote_host
ORDER BY first_seen;
