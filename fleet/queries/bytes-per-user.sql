-- How much did each user send out, day by day, in the last 7 days?
SELECT
    toDate(start_time) AS day,
    user_name,
    -- Of connections whose bytes are known; null where of none.
    sum(connections.bytes_out) AS bytes_out,
    countIf(isNull(connections.bytes_out)) AS rows_without_bytes,
    uniq(endpoint) AS endpoints
FROM conntrail.connections AS connections FINAL
WHERE phase = 'close' AND start_time >= now() - INTERVAL 7 DAY
GROUP BY day, user_name
ORDER BY day, bytes_out DESC NULLS LAST;
