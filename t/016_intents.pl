# What becomes of a contact that is enqueued anew, or withdrawn, at any time.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('intents', $fake, extra => <<'END');
contacts_push.max_concurrent_requests = 16
contacts_push.request_timeout = 1h
END

# Appends an intent: a contact with this name, or a withdrawal.
sub append
{
	my ($chatbot, $external_id, $name) = @_;
	my $contact = defined $name ? qq('{"name": "$name"}') : 'NULL';
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('$chatbot', '$external_id', $contact)
END
	return;
}

# The name with which the stand-in holds a contact; undef if it doesn't.
sub held_name
{
	my ($chatbot, $external_id) = @_;
	my ($contact) = grep { $_->{external_id} eq $external_id } @{ $fake->admin("contacts?chatbot=$chatbot") };
	return $contact ? $contact->{name} : undef;
}

# How many requests have carried the contact.
sub sendings
{
	my ($chatbot, $external_id) = @_;
	return scalar grep { $_->{method} eq 'POST' && $_->{chatbot} eq $chatbot && grep { $_ eq $external_id } @{ $_->{external_ids} // [] } }
	  whole_log($fake);
}

# What happens while the contact's request is under way, what that request's
# answer is, and what must have come of it: the statuses of the contact's rows, how often it
# was sent and the name that is held.
my $true = FakeChatbase::true;
my @meanwhile = (
	[ 'enqueued anew, then created', ['second'], after => {}, 'created skipped', 1, 'first' ],
	[ 'enqueued anew twice, then refused', [ 'second', 'third' ], before => { refuse => $true },
		'superseded superseded created', 2, 'third' ],
	[ 'withdrawn, then created', [undef], after => {}, 'created withdrawn', 1, 'first' ],
	[ 'withdrawn, then refused', [undef], before => { refuse => $true }, 'superseded withdrawn', 1, undef ],
	[ 'withdrawn and enqueued anew, then refused', [ undef, 'third' ], before => { refuse => $true },
		'superseded withdrawn created', 2, 'third' ],
	[ 'enqueued anew and withdrawn, then refused', [ 'second', undef ], before => { refuse => $true },
		'superseded withdrawn withdrawn', 1, undef ],
	[ 'enqueued anew, the answer lost', ['second'], after => { drop => $true }, 'present skipped', 1, 'first' ],
	[ 'withdrawn, the answer lost', [undef], after => { drop => $true }, 'withdrawn withdrawn', 1, 'first' ],
	[ 'enqueued anew, then failed', ['second'], before => { status => 500 }, 'created skipped', 2, 'first' ],
	[ 'withdrawn, then failed', [undef], before => { status => 500 }, 'withdrawn withdrawn', 1, undef ]);

# All at once, until all of it has happened.
$fake->faults(
	map({
		my ($what, $names, $when, $action) = @{ $meanwhile[$_] };
		{ times => 1, match => { chatbot => "c$_" }, when => $when, action => { delay_ms => FakeChatbase::HELD, %$action } }
	} 0 .. $#meanwhile));
append("c$_", 'x', 'first') for 0 .. $#meanwhile;
ok(wait_until(sub { $fake->in_flight == @meanwhile }), 'the requests are under way');
for my $i (0 .. $#meanwhile)
{
	append("c$i", 'x', $_) for @{ $meanwhile[$i][1] };
}
is($fake->in_flight, scalar @meanwhile, 'and while they are, the contacts are enqueued anew or withdrawn');
$fake->release;
ok(settled($node), 'all is settled');
for my $i (0 .. $#meanwhile)
{
	my ($what, $names, $when, $action, $statuses, $sendings, $name) = @{ $meanwhile[$i] };
	is(status_of($node, "c$i", 'x'), $statuses, "$what: $statuses");
	is(sendings("c$i", 'x'), $sendings, "$what: sent $sendings times");
	is(held_name("c$i", 'x'), $name, "$what: what is held");
}

# The same where the answer is to come again later.  On its own, since that holds
# back whoever uses the key.
$fake->faults({ times => 1, action => { status => 429, delay_ms => FakeChatbase::HELD } });
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
VALUES ('throttled', 'x', '{"name": "first"}'), ('throttled', 'y', '{"name": "first"}')
END
ok(wait_until(sub { $fake->in_flight == 1 }), 'the request is under way');
append('throttled', 'x');
append('throttled', 'y', 'second');
is($fake->in_flight, 1, 'and while it is, its contacts are withdrawn and enqueued anew');
$fake->release;
ok(settled($node), 'all is settled');
is(status_of($node, 'throttled', 'x'), 'withdrawn withdrawn', 'withdrawn, then told to come again: it does not');
is(sendings('throttled', 'x'), 1, 'and is not sent again');
is(status_of($node, 'throttled', 'y'), 'superseded created', 'enqueued anew, then told to come again: the newest goes');
is(held_name('throttled', 'y'), 'second', 'and is what is held');

# What has not been sent
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.chatbot (chatbot_id) VALUES ('unsent'), ('several');
SELECT contacts_push.pause(c) FROM unnest('{unsent,several}'::text[]) c;
END
append('unsent', 'x', 'first');
append('unsent', 'x');
append('unsent', 'y');
append('several', 'x', $_) for 1 .. 5;
$node->safe_psql('postgres', q{SELECT contacts_push.resume(c) FROM unnest('{unsent,several}'::text[]) c});
ok(settled($node), 'not sent: all is settled');
is(status_of($node, 'unsent', 'x'), 'withdrawn withdrawn', 'a withdrawal of what was never sent');
is(status_of($node, 'unsent', 'y'), 'withdrawn', 'a withdrawal of what never was');
is((grep { $_->{chatbot} eq 'unsent' } whole_log($fake)), 0, 'send nothing');
is(status_of($node, 'several', 'x'), 'superseded superseded superseded superseded created', 'of several the newest is sent');
is(held_name('several', 'x'), '5', 'and held');

# In one transaction
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
VALUES ('once', 'x', '{"name": "1"}'), ('once', 'x', '{"name": "2"}'), ('once', 'y', '{}'), ('once', 'y', NULL)
END
ok(settled($node), 'one transaction: all is settled');
is(status_of($node, 'once', 'x'), 'superseded created', 'one transaction: the newest is sent');
is(held_name('once', 'x'), '2', 'one transaction: and held');
is(status_of($node, 'once', 'y'), 'withdrawn withdrawn', 'one transaction: or nothing');

# After the outcome
append('once', 'x', '3');
append('once', 'x');
append('once', 'x', '4');
ok(settled($node), 'afterwards: all is settled');
is(status_of($node, 'once', 'x'), 'superseded created skipped withdrawn skipped',
	'afterwards: what is created is not sent again');
$fake->faults({ match => { external_id => '^bad' }, times => 1, action => { refuse => $true } });
append('once', 'bad', '1');
ok(settled($node), 'a refusal: settled');
is(status_of($node, 'once', 'bad'), 'rejected', 'a refusal');
append('once', 'bad', '2');
ok(settled($node), 'fixed: settled');
is(status_of($node, 'once', 'bad'), 'superseded created', 'fixed: is sent again');
is($node->safe_psql('postgres', q{SELECT status FROM contacts_push.contact_status WHERE external_id = 'bad'}), 'created',
	'fixed: and is what the contact is');
is(count_rows($node, q{status IN ('superseded', 'skipped', 'withdrawn') AND contact IS NOT NULL}), 0,
	'what is not sent keeps no personal data');

$node->stop;
done_testing();
