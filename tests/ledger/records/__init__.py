"""Tests of records and envelopes."""
