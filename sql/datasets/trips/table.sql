-- Trips as stored: wide columns first, so that no bytes are lost to alignment (48 bytes of data a row).
CREATE TABLE store.trips (
    origin_lon double precision NOT NULL,
    origin_lat double precision NOT NULL,
    destination_lon double precision NOT NULL,
    destination_lat double precision NOT NULL,
    started_at timestamp NOT NULL,
    ingestion integer NOT NULL,
    region smallint NOT NULL,
    datasource smallint
);
-- Boxes by origin: each chunk is written in the order of its origins' cells, so a box is in a few ranges of
-- pages of each chunk; a block range index finds them and is cheap to maintain. It serves queries of rows
-- and of trips that are not compacted yet; averages and groups use projections.
CREATE INDEX trips_origin ON store.trips USING brin (ingestion, origin_lon, origin_lat) WITH (pages_per_range = 16);
