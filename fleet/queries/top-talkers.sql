-- Which programs moved most, and to how many destinations, in the last 24 hours?
SELECT
    process_name,
    signing_id,
    sum(connections.connections) AS connections,
    uniq(endpoint) AS endpoints,
    uniq(remote_host, remote_ip) AS destinations,
    -- Of connections whose bytes are known; null where of none.
    sum(connections.bytes_out) AS bytes_out,
    sum(connections.bytes_in) AS bytes_in,
    sumIf(connections.connections, isNull(connections.bytes_out)) AS connections_without_bytes
FROM conntrail.connections AS connections FINAL
WHERE phase = 'close' AND start_time >= now() - INTERVAL 24 HOUR
GROUP BY process_name, signing_id
ORDER BY bytes_out DESC NULLS LAST, connections DESC
LIMIT 50;
