-- What was shipped, beside what is stored now. Every manifest carries SHA-256 over the texts of its
-- records; here it is made again from the columns. A join by stretches of 1,024 sequences finds the
-- records of each manifest, so that it costs in proportion to them.
CREATE OR REPLACE VIEW {{database}}.tamper_batches{{cluster}} AS
WITH
    texts AS
    (
        SELECT endpoint, source, epoch, sequence, {{connection_text}} AS row_text
        FROM {{database}}.connections FINAL
        UNION ALL
        SELECT endpoint, source, epoch, sequence, {{notice_text}} AS row_text
        FROM {{database}}.notices FINAL
    ),
    stretches AS
    (
        SELECT *, arrayJoin(range(intDiv(first_sequence, 1024), intDiv(last_sequence, 1024) + 1))
            AS stretch
        FROM {{database}}.manifests
        WHERE NOT is_expired AND last_sequence >= first_sequence
    ),
    made_again AS
    (
        SELECT
            stretches.endpoint AS endpoint, stretches.source AS source, stretches.epoch AS epoch,
            stretches.first_sequence AS first_sequence, stretches.last_sequence AS last_sequence,
            stretches.view AS view, count() AS rows, uniqExact(sequence) AS sequences,
            {{digest}} AS digest_now
        FROM stretches
        INNER JOIN (SELECT *, intDiv(sequence, 1024) AS stretch FROM texts) AS texts
            ON stretches.endpoint = texts.endpoint AND stretches.source = texts.source
            AND stretches.epoch = texts.epoch AND stretches.stretch = texts.stretch
        WHERE sequence >= stretches.first_sequence AND sequence <= stretches.last_sequence
        GROUP BY endpoint, source, epoch, first_sequence, last_sequence, view
    )
SELECT
    manifests.endpoint AS endpoint, manifests.source AS source, manifests.epoch AS epoch,
    manifests.first_sequence AS first_sequence, manifests.last_sequence AS last_sequence,
    manifests.view AS view, manifests.sent AS sent, made_again.rows AS rows,
    manifests.digest AS digest,
    -- Nothing was sent, and nothing is there: the digest of no text.
    if(made_again.rows = 0, lower(hex(SHA256(''))), made_again.digest_now) AS digest_now,
    multiIf(
        manifests.versions > 1, 'manifest forged',
        manifests.sent + manifests.opens + manifests.filtered + manifests.dropped
            + manifests.refused + manifests.missing
            != manifests.last_sequence - manifests.first_sequence + 1, 'manifest changed',
        manifests.digest = digest_now, 'whole',
        made_again.rows < manifests.sent, 'rows missing',
        made_again.rows > manifests.sent, 'rows added',
        'rows changed') AS finding
FROM {{database}}.manifests AS manifests
LEFT JOIN made_again ON manifests.endpoint = made_again.endpoint
    AND manifests.source = made_again.source AND manifests.epoch = made_again.epoch
    AND manifests.first_sequence = made_again.first_sequence
    AND manifests.last_sequence = made_again.last_sequence AND manifests.view = made_again.view
WHERE NOT manifests.is_expired;

-- Sequences of an epoch that no manifest accounts for and nobody declared, as ranges.
CREATE OR REPLACE VIEW {{database}}.tamper_gaps{{cluster}} AS
SELECT
    endpoint, source, epoch, reached + 1 AS first_sequence,
    toUInt64(next - 1) AS last_sequence
FROM
(
    SELECT
        endpoint, source, epoch, first_sequence AS next,
        max(last_sequence) OVER (PARTITION BY endpoint, source, epoch
            ORDER BY first_sequence, last_sequence
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
    FROM
    (
        SELECT endpoint, source, epoch, first_sequence, last_sequence FROM {{database}}.manifests
        UNION ALL
        SELECT endpoint, source, epoch, first_sequence, last_sequence FROM {{database}}.declared
        WHERE first_sequence > 0 AND last_sequence >= first_sequence
        UNION ALL
        -- Whatever is known to be the end is followed by nothing.
        SELECT endpoint, source, epoch, last_known + 1, last_known + 1 FROM {{database}}.epoch_ends
    )
)
WHERE next > reached + 1;

-- Records that no manifest accounts for. Those of a round that is under way are here for a moment.
CREATE OR REPLACE VIEW {{database}}.tamper_strays{{cluster}} AS
WITH reach AS
(
    SELECT endpoint, source, epoch, first_sequence,
        max(last_sequence) OVER (PARTITION BY endpoint, source, epoch
            ORDER BY first_sequence, last_sequence) AS reached
    FROM {{database}}.manifests
)
SELECT stored.endpoint AS endpoint, stored.source AS source, stored.epoch AS epoch,
    stored.sequence AS sequence
FROM {{database}}.stored AS stored
ASOF LEFT JOIN reach ON stored.endpoint = reach.endpoint AND stored.source = reach.source
    AND stored.epoch = reach.epoch AND stored.sequence >= reach.first_sequence
WHERE reach.reached < stored.sequence;

-- Messages that came through the stream and of which nothing is left: what was cut off at the end
-- of an epoch, with its manifest, is missing here. Those of the last ten minutes may be under way.
CREATE OR REPLACE VIEW {{database}}.tamper_streams{{cluster}} AS
SELECT stream, stream_created, reached + 1 AS first_missing, toUInt64(stream_sequence - 1) AS last_missing,
    before AS published_after, published AS published_before
FROM
(
    SELECT
        stream, stream_created, stream_sequence, published,
        lagInFrame(stream_sequence, 1, 0) OVER in_order AS reached,
        lagInFrame(published, 1, stream_created) OVER in_order AS before
    FROM
    (
        SELECT DISTINCT stream, stream_created, stream_sequence, published FROM {{database}}.batches
        UNION DISTINCT
        SELECT DISTINCT stream, stream_created, stream_sequence, published
        FROM {{database}}.relay_refused
    )
    WINDOW in_order AS (PARTITION BY stream, stream_created ORDER BY stream_sequence
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
)
WHERE stream_sequence > reached + 1;

-- The last chain head that each epoch brought: `conntrail verify --anchor HEAD` on the machine says
-- whether what it has is still what it shipped.
CREATE OR REPLACE VIEW {{database}}.heads{{cluster}} AS
SELECT
    endpoint, source, epoch, any(host) AS host, max(last_sequence) AS last_received,
    argMax(concat(toString(head_epoch), ':', toString(head_sequence), ':', head_hash),
        head_sequence) AS head
FROM {{database}}.manifests
WHERE isNotNull(head_sequence)
GROUP BY endpoint, source, epoch;

-- Everything that is wrong. Nothing is what an untouched store gives.
CREATE OR REPLACE VIEW {{database}}.tamper{{cluster}} AS
SELECT finding, endpoint, source, epoch, first_sequence, last_sequence,
    concat(toString(rows), ' of ', toString(sent), ' rows') AS detail
FROM {{database}}.tamper_batches WHERE finding != 'whole'
UNION ALL
SELECT 'gap', endpoint, source, epoch, first_sequence, last_sequence, 'no manifest'
FROM {{database}}.tamper_gaps
UNION ALL
SELECT 'stray row', endpoint, source, epoch, sequence, sequence, 'no manifest'
FROM {{database}}.tamper_strays
UNION ALL
SELECT 'message gone', '', '', toUInt64(0), first_missing, last_missing,
    concat('of the stream ', stream, ', after ', toString(published_after))
FROM {{database}}.tamper_streams;
