"""Files and command lines of other programs, as plain records: nothing here makes or knows an estimator."""
