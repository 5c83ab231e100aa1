"""What a person does beside the runs: test, explain, decide doubts, adopt, forget, give up, sweep."""
