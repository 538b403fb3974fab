"""The harness around :mod:`ddpm`: studies, jobs, timing, scoring, results and reports."""
