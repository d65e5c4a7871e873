-- Which programs called one destination again and again at even intervals, in the last 24 hours?
-- At least 50 calls, and intervals that vary by less than a fifth of their mean.
SELECT
    endpoint,
    process_name,
    destination,
    remote_port,
    length(starts) AS calls,
    round(mean_ms / 1000, 1) AS interval_s,
    round(sqrt(arrayAvg(arrayMap(it -> pow(it - mean_ms, 2), intervals))) / mean_ms, 3) AS variation
FROM
(
    SELECT
        endpoint,
        process_name,
        if(remote_host != '', remote_host, IPv6NumToString(assumeNotNull(remote_ip))) AS destination,
        remote_port,
        arraySort(groupArray(toUnixTimestamp64Milli(start_time))) AS starts,
        arrayPopFront(arrayDifference(starts)) AS intervals,
        arrayAvg(intervals) AS mean_ms
    FROM conntrail.connections FINAL
    WHERE phase = 'close' AND direction != 'inbound' AND start_time >= now() - INTERVAL 24 HOUR
        AND (remote_host != '' OR isNotNull(remote_ip))
    GROUP BY endpoint, process_name, destination, remote_port
    HAVING length(starts) >= 50 AND mean_ms > 0
)
WHERE variation < 0.2
ORDER BY variation;
