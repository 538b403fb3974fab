"""Tests. A package, since another distribution has installed one of this name beside our dependencies."""
