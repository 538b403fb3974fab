"""What results say: tables, queries, statistics, verdicts on claims."""
