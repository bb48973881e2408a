-- Weekly average number of trips of a region, of a bounding box, or of a box within a region.
-- Weeks begin on Monday and are named as ISO 8601 names them. The average divides by the weeks that
-- have trips, or with weeks=spanned by all weeks from the first to the last. Edges of a box belong to it.
-- param region text: Name of the region.
-- param min_lon number (-180..180): Western edge of the box, in degrees.
-- param min_lat number (-90..90): Southern edge of the box, in degrees.
-- param max_lon number (-180..180): Eastern edge of the box, in degrees.
-- param max_lat number (-90..90): Northern edge of the box, in degrees.
-- param by text = origin (origin, destination, both, either): Which end of a trip lies in the box.
-- param weeks text = observed (observed, spanned): Divide by the weeks with trips, or by all weeks between.
-- needs: region | min_lon min_lat max_lon max_lat
-- returns: one
-- draw: line x=monday y=trips rows=per_week label=trips_a_week
WITH box AS (
    -- The cells in which its edges lie; those between them lie wholly within, and so do the areas that
    -- consist of such. below_lon is the number right before min_lon: an edge belongs to the box.
    SELECT
        *,
        area_x0 <= area_x1 AND area_y0 <= area_y1 AS has_areas
    FROM (
        SELECT
            *,
            min_lon - greatest(abs(min_lon) * 1.1102230246251565e-16, CAST('5e-324' AS double precision)) AS below_lon,
            min_lat - greatest(abs(min_lat) * 1.1102230246251565e-16, CAST('5e-324' AS double precision)) AS below_lat,
            CAST(floor(x0 / 10.0) AS integer) + 1 AS area_x0,
            CAST(floor(x1 / 10.0) AS integer) - 1 AS area_x1,
            CAST(floor(y0 / 10.0) AS integer) + 1 AS area_y0,
            CAST(floor(y1 / 10.0) AS integer) - 1 AS area_y1
        FROM (
            SELECT
                *,
                CAST(floor(min_lon * 50) AS integer) AS x0,
                CAST(floor(min_lat * 50) AS integer) AS y0,
                CAST(floor(max_lon * 50) AS integer) AS x1,
                CAST(floor(max_lat * 50) AS integer) AS y1
            FROM (SELECT
                CAST(:min_lon AS double precision) AS min_lon,
                CAST(:min_lat AS double precision) AS min_lat,
                CAST(:max_lon AS double precision) AS max_lon,
                CAST(:max_lat AS double precision) AS max_lat) AS given
        ) AS cells
    ) AS areas
    WHERE min_lon <= max_lon AND min_lat <= max_lat
),
-- The cells within, but those of whole areas.
within AS (
    SELECT strips.* FROM box, LATERAL (VALUES
        (x0 + 1, CASE WHEN has_areas THEN area_x0 * 10 ELSE x1 END - 1, y0 + 1, y1 - 1),
        (CASE WHEN has_areas THEN area_x1 * 10 + 10 ELSE x1 END, x1 - 1, y0 + 1, y1 - 1),
        (CASE WHEN has_areas THEN area_x0 * 10 ELSE x1 END, area_x1 * 10 + 9, y0 + 1, area_y0 * 10 - 1),
        (CASE WHEN has_areas THEN area_x0 * 10 ELSE x1 END, area_x1 * 10 + 9, area_y1 * 10 + 10, y1 - 1)
    ) AS strips (from_x, to_x, from_y, to_y)
),
weekly AS (
    -- A region alone is answered by the roll-up.
    SELECT week, sum(trips) AS trips
    FROM trips_weekly
    WHERE CAST(:min_lon AS double precision) IS NULL AND region = :region
    GROUP BY week
    UNION ALL
    SELECT week, sum(trips) AS trips
    FROM box JOIN trips_areas ON area_x BETWEEN area_x0 AND area_x1 AND area_y BETWEEN area_y0 AND area_y1
    WHERE :by = 'origin' AND (CAST(:region AS text) IS NULL OR region = :region)
    GROUP BY week
    UNION ALL
    SELECT week, sum(trips) AS trips
    FROM within JOIN trips_edges ON x BETWEEN from_x AND to_x AND y BETWEEN from_y AND to_y
    WHERE :by = 'origin' AND (CAST(:region AS text) IS NULL OR region = :region)
    GROUP BY week
    UNION ALL
    -- Cells that the western or eastern edge cuts: how many lie between is the distance of two places.
    SELECT week, sum(
        CASE WHEN x < x1 THEN trips ELSE width_bucket(max_lon, lons) END
        - CASE WHEN x > x0 THEN 0 ELSE width_bucket(below_lon, lons) END
    ) AS trips
    FROM box JOIN trips_edges ON x IN (x0, x1) AND y BETWEEN y0 + 1 AND y1 - 1
    WHERE :by = 'origin' AND (CAST(:region AS text) IS NULL OR region = :region)
    GROUP BY week
    UNION ALL
    -- Cells that the southern or northern edge cuts.
    SELECT week, sum(
        CASE WHEN y < y1 THEN trips ELSE width_bucket(max_lat, sorted_lats) END
        - CASE WHEN y > y0 THEN 0 ELSE width_bucket(below_lat, sorted_lats) END
    ) AS trips
    FROM box JOIN trips_edges ON x BETWEEN x0 + 1 AND x1 - 1 AND y IN (y0, y1)
    WHERE :by = 'origin' AND (CAST(:region AS text) IS NULL OR region = :region)
    GROUP BY week
    UNION ALL
    -- The corners look at the trips between the western and the eastern edge.
    SELECT week, sum((
        SELECT count(*)
        FROM unnest(lats[
            CASE WHEN x > x0 THEN 1 ELSE width_bucket(below_lon, lons) + 1 END
            : CASE WHEN x < x1 THEN trips ELSE width_bucket(max_lon, lons) END
        ]) AS lat
        WHERE lat BETWEEN min_lat AND max_lat
    )) AS trips
    FROM box JOIN trips_edges ON x IN (x0, x1) AND y IN (y0, y1)
    WHERE :by = 'origin' AND (CAST(:region AS text) IS NULL OR region = :region)
    GROUP BY week
    UNION ALL
    -- What was published a moment ago, or is asked for by another end, looks at each trip.
    SELECT CAST(date_trunc('week', started_at) AS date) AS week, count(*) AS trips
    FROM trips
    WHERE :by = 'origin' AND EXISTS (SELECT FROM trips_unsettled)
        AND ingestion >= (SELECT min(ingestion) FROM trips_unsettled)
        AND ingestion IN (SELECT ingestion FROM trips_unsettled)
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
