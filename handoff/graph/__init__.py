"""What the user writes: functions, their arguments, and the graph they form."""
