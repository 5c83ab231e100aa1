"""What there is to tell: an audience against the ledger, judged by its guards, written as a plan."""
