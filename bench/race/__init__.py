"""Time to a target quality: the rules, who takes part, how runs are compared, and the records (docs/race.md)."""
