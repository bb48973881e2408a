-- Weekly average number of trips of a region, of a bounding box, or of a box within a region.
-- Weeks begin on Monday and have ISO 8601 names. The average divides by the weeks with trips, or with
-- weeks=spanned by all weeks from the first to the last. A box includes its edges.
-- param region text: Name of the region.
-- param min_lon number (-180..180): Western edge of the box, in degrees.
-- param min_lat number (-90..90): Southern edge of the box, in degrees.
-- param max_lon number (-180..180): Eastern edge of the box, in degrees.
-- param max_lat number (-90..90): Northern edge of the box, in degrees.
-- param by text = origin (origin, destination, both, either): The end of a trip that is in the box.
-- param weeks text = observed (observed, spanned): Divide by the weeks with trips, or by all weeks from first to last.
-- needs: region | min_lon min_lat max_lon max_lat
-- ascending: min_lon max_lon | min_lat max_lat
-- returns: one
-- draw: line x=monday y=trips rows=per_week label=trips_a_week
WITH RECURSIVE found AS (
    -- The tree from its root: a node inside the box is counted, one that an edge cuts is opened.
    SELECT
        level, node, weeks, trips_of_weeks,
        west >= :min_lon AND east <= :max_lon AND south >= :min_lat AND north <= :max_lat AS is_within
    FROM trips_tree
    WHERE level = 7 AND :by = 'origin'
        AND west <= :max_lon AND east >= :min_lon AND south <= :max_lat AND north >= :min_lat
        AND (CAST(:region AS text) IS NULL OR region = :region)
    UNION ALL
    SELECT
        below.level, below.node, below.weeks, below.trips_of_weeks,
        west >= :min_lon AND east <= :max_lon AND south >= :min_lat AND north <= :max_lat
    FROM found, LATERAL (
        SELECT * FROM trips_tree
        WHERE trips_tree.level = found.level - 1
            AND trips_tree.node BETWEEN found.node * 4 AND found.node * 4 + 3
            AND west <= :max_lon AND east >= :min_lon AND south <= :max_lat AND north >= :min_lat
        OFFSET 0
    ) AS below
    WHERE NOT is_within AND found.level > 1
),
weekly AS (
    -- The roll-up answers for a region without a box.
    SELECT week, trips FROM trips_weekly WHERE CAST(:min_lon AS double precision) IS NULL AND region = :region
    UNION ALL
    SELECT unnest(weeks), unnest(trips_of_weeks) FROM found WHERE is_within
    UNION ALL
    -- A leaf that an edge cuts is read trip by trip; of another the coordinates are not read.
    SELECT week, 1
    FROM (
        SELECT
            unnest(CASE WHEN NOT leaf.is_within THEN lons END) AS lon,
            unnest(CASE WHEN NOT leaf.is_within THEN lats END) AS lat,
            unnest(leaf.weeks) AS week
        FROM found, LATERAL (
            SELECT
                lons, lats, weeks,
                west >= :min_lon AND east <= :max_lon AND south >= :min_lat AND north <= :max_lat AS is_within
            FROM trips_tree
            WHERE level = 0 AND trips_tree.node BETWEEN found.node * 4 AND found.node * 4 + 3
                AND west <= :max_lon AND east >= :min_lon AND south <= :max_lat AND north >= :min_lat
            OFFSET 0
        ) AS leaf
        WHERE NOT found.is_within AND found.level = 1
    ) AS looked_at
    WHERE lon IS NULL OR (lon BETWEEN :min_lon AND :max_lon AND lat BETWEEN :min_lat AND :max_lat)
    UNION ALL
    -- Trips that are not compacted yet, or are selected by another end, are read trip by trip.
    SELECT CAST(date_trunc('week', started_at) AS date) AS week, count(*) AS trips
    FROM trips
    WHERE :by = 'origin' AND EXISTS (SELECT FROM trips_uncompacted)
        AND ingestion >= (SELECT min(ingestion) FROM trips_uncompacted)
        AND ingestion IN (SELECT ingestion FROM trips_uncompacted)
        AND origin_lon BETWEEN :min_lon AND :max_lon AND origin_lat BETWEEN :min_lat AND :max_lat
        AND (CAST(:region AS text) IS NULL OR region = :region)
    GROUP BY 1
    UNION ALL
    SELECT CAST(date_trunc('week', started_at) AS date) AS week, count(*) AS trips
    FROM trips,
        LATERAL (SELECT
            origin_lon BETWEEN :min_lon AND :max_lon AND origin_lat BETWEEN :min_lat AND :max_lat AS begins,
            destination_lon BETWEEN :min_lon AND :max_lon
                AND destination_lat BETWEEN :min_lat AND :max_lat AS ends) AS box
    WHERE CAST(:min_lon AS double precision) IS NOT NULL AND :by <> 'origin'
        AND (CAST(:region AS text) IS NULL OR region = :region)
        AND CASE :by
            WHEN 'destination' THEN ends
            WHEN 'both' THEN begins AND ends
            ELSE begins OR ends
        END
    GROUP BY 1
),
weeks AS (
    SELECT week, sum(trips) AS trips FROM weekly GROUP BY week HAVING sum(trips) > 0
),
span AS (
    SELECT
        coalesce(sum(trips), 0) AS trips,
        count(*) AS weeks_observed,
        coalesce((max(week) - min(week)) / 7 + 1, 0) AS weeks_spanned,
        coalesce(
            jsonb_agg(
                jsonb_build_object('week', to_char(week, 'IYYY-"W"IW'), 'monday', week, 'trips', trips)
                ORDER BY week
            ), '[]'
        ) AS per_week
    FROM weeks
)
SELECT
    :region AS region,
    CASE WHEN CAST(:min_lon AS double precision) IS NOT NULL
        THEN jsonb_build_array(:min_lon, :min_lat, :max_lon, :max_lat) END AS box,
    CASE WHEN CAST(:min_lon AS double precision) IS NOT NULL THEN :by END AS by,
    CAST(trips AS bigint) AS trips,
    weeks_observed,
    weeks_spanned,
    CAST(round(coalesce(
        trips / nullif(CASE :weeks WHEN 'spanned' THEN weeks_spanned ELSE weeks_observed END, 0), 0
    ), 6) AS double precision) AS weekly_average,
    per_week
FROM span
