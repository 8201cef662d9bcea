"""Tests of the state: documents, rules, replay."""
