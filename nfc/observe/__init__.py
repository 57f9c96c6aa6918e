"""What running functions say: events and counters."""
