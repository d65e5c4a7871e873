-- What did this machine do in this hour? Connections and notices, as they happened.
WITH
    '01010101-0101-0101-0101-010101010101' AS machine,
    now() - INTERVAL 1 HOUR AS hour_begins,
    now() AS hour_ends
SELECT * FROM
(
    SELECT start_time AS time, source, epoch, sequence, phase AS kind, process_name AS who,
        concat(direction, ' ', transport, ' ',
            if(remote_host != '', remote_host, ifNull(IPv6NumToString(remote_ip), 'unknown')),
            ' ', ifNull(toString(remote_port), 'unknown')) AS what
    FROM conntrail.connections FINAL
    WHERE endpoint = machine AND start_time >= hour_begins AND start_time < hour_ends
    UNION ALL
    SELECT time, source, epoch, sequence, notice, sensor, message
    FROM conntrail.notices FINAL
    WHERE endpoint = machine AND time >= hour_begins AND time < hour_ends
)
ORDER BY time, source, epoch, sequence;
