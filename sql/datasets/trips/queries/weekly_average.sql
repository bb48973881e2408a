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
WITH weeks AS (
    -- The roll-up answers for a region without a box.
    SELECT week, sum(trips) AS trips
    FROM trips_weekly
    WHERE CAST(:min_lon AS double precision) IS NULL AND region = :region
    GROUP BY week
    UNION ALL
    SELECT period, rows
    FROM trips_places_counts(:min_lon, :min_lat, :max_lon, :max_lat, by => :by, partition_value => :region)
    WHERE CAST(:min_lon AS double precision) IS NOT NULL
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
