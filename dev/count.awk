# dev/count.awk
#	Counts the tests in the output of unit tests, pg_regress and prove -v:
#	prints "PASSED FAILED SKIPPED".  Nothing here decides what a part's exit
#	status means.
#
# It reads TAP (PostgreSQL 16's pg_regress prints it too) and the older
# pg_regress's "test name ... ok".  Several TAP streams may follow each other;
# what their plans announce and nobody reported has failed, and so has, as one
# test, a file that prove says has failed although none of its tests did.  One that was
# skipped as a whole (NOTESTS) counts as one test skipped.

# A stream's plan stands before or after its tests.
/^1\.\.[0-9]+/ {
	planned += substr($1, 4)
	if ($1 == "1..0")
		skipped++
}

/^ok +[0-9]+/ || /^not ok +[0-9]+/ {
	points++
	# A test that is skipped, or expected to fail, has shown nothing.
	if (tolower($0) ~ /# *(skip|todo)/)
		skipped++
	else if ($1 == "ok")
		passed++
	else
		failed++
}

/^(test|    ) .* \.\.\. +ok/ { passed++ }
/^(test|    ) .* \.\.\. +(FAILED|failed)/ { failed++ }

/^Result: / {
	finish_streams()
	if ($2 == "NOTESTS")
		skipped++
	else if ($2 != "PASS" && failed == failed_before)
		failed++
	failed_before = failed
}

function finish_streams()
{
	if (planned > points)
		failed += planned - points
	planned = points = 0
}

END {
	finish_streams()
	print passed + 0, failed + 0, skipped + 0
}
