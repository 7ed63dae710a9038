"""What nights have read already: partitions of sources, cohorts of units and their moments, each kept once.

``store``       files, locks and the embedded DuckDB that works on them
``partitions``  the rows of a source by UTC day, read from the warehouse once, and again when late rows touch them
``enrolment``   units by day of first exposure, with segments, covariates and crossovers
``totals``      moments of each cohort, kept for as long as nothing that they are made of changes
``night``       a night of one experiment out of these

Everything but the records of sources is named by what it was made of, so it is never wrong, only missing: a night that
was killed, two nights at once and nights in any order leave files that the next night uses or makes anew.
``docs/decisions/0009-state-beside-the-warehouse.md`` says why it is kept here.
"""
