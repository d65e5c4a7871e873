-- Alert: a shipper gave records up, in the last 24 hours.
SELECT time, endpoint, hostname, destination, cause, about_source, about_epoch, first_sequence,
    last_sequence, reason
FROM conntrail.notices FINAL
WHERE notice = 'undelivered' AND time >= now() - INTERVAL 24 HOUR
ORDER BY time;
