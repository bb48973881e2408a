-- Employees hired in each month, of one department or of all; months are in UTC.
-- param department text: Only this department.
-- param from_year integer: First year.
-- param to_year integer: Last year.
-- ascending: from_year to_year
-- draw: line x=month y=hired label=employees_hired
SELECT CAST(date_trunc('month', hired_at AT TIME ZONE 'UTC') AS date) AS month, count(*) AS hired
FROM hired_employees
LEFT JOIN departments ON departments.id = department_id
WHERE (CAST(:department AS text) IS NULL OR department = :department)
    AND (CAST(:from_year AS integer) IS NULL OR date_part('year', hired_at AT TIME ZONE 'UTC') >= :from_year)
    AND (CAST(:to_year AS integer) IS NULL OR date_part('year', hired_at AT TIME ZONE 'UTC') <= :to_year)
GROUP BY month
ORDER BY month
