# Whoever has a request refused for its size, or answered with what is no answer, is found
# in a bounded number of requests.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT requests_for);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('no_usable_answer', $fake);

# Too large whatever their number: in the end each is by itself, and it takes no more
# than two or three requests a contact to find that out.
sub always_too_large
{
	my $contacts = 200;
	my $most = 3 * $contacts;

	$fake->faults({ match => { chatbot => 'large' }, action => { status => 413 } });
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'large', i::text, '{}' FROM generate_series(1, $contacts) i
END
	# without an end there would be nothing to wait for
	wait_until(sub { requests_for($fake, 'large') > $most
		  || count_rows($node, q{chatbot_id = 'large' AND status = 'pending'}) == 0 });
	is(outcomes($node, 'large'), "rejected $contacts", 'too large: all are rejected');
	cmp_ok(requests_for($fake, 'large'), '<=', $most, 'too large: in a bounded number of requests');
	my %alone = map { $_->{external_ids}[0] => 1 } grep { $_->{chatbot} eq 'large' && $_->{contacts} == 1 } whole_log($fake);
	is(keys %alone, $contacts, 'too large: each having been sent alone');
	$fake->faults;
	# what is still pending where this fails is not to disturb others
	$node->safe_psql('postgres', q{DELETE FROM contacts_push.outbox WHERE chatbot_id = 'large'});
	return;
}

# A contact that has requests answered with what is no answer: it is found, like one
# that has them refused.
sub one_without_answer
{
	my $contacts = 500;
	my $most = 200;
	my $others = q{chatbot_id = 'html' AND external_id <> 'odd'};
	my $odd = q{chatbot_id = 'html' AND external_id = 'odd'};

	set_conf($node, 'contacts_push.max_attempts' => 3);
	$fake->faults({ match => { chatbot => 'html', external_id => '^odd$' },
		action => { status => 200, headers => { 'Content-Type' => 'text/html' }, body => '<html><body>Welcome</body></html>' } });
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'html', CASE WHEN i = $contacts / 2 THEN 'odd' ELSE 'u' || i END, '{}' FROM generate_series(0, $contacts) i
END
	wait_until(sub { requests_for($fake, 'html') > $most || count_rows($node, "$others AND status = 'created'") == $contacts });
	is(count_rows($node, "$others AND status = 'created'"), $contacts, 'no answer: all others are created');
	cmp_ok(requests_for($fake, 'html'), '<=', $most, 'no answer: in a bounded number of requests');
	# whether it is its own fault those tell who come after it has failed
	my $more = 0;
	ok(wait_until(sub {
		return 1 if count_rows($node, "$odd AND (status = 'failed' OR attempts > 0)") == 1;
		insert_users($node, 'html', 'more', ++$more, $more)
		  if count_rows($node, q{chatbot_id = 'html' AND status = 'pending'}) <= 1;
		return 0;
	}), 'no answer: it is failed, or charged')
	  or diag($node->safe_psql('postgres', "SELECT status, attempts, unconfirmed, error FROM contacts_push.outbox WHERE $odd"));
	ok(!exists $fake->held('html')->{odd}, 'no answer: nobody holds it');
	is(count_rows($node, "$odd AND status IN ('created', 'present')"), 0, 'no answer: and nobody says so');
	$fake->faults;
	$node->safe_psql('postgres', "DELETE FROM contacts_push.outbox WHERE $odd");
	set_conf($node, 'contacts_push.max_attempts' => 1000);
	return;
}

ok(worker_runs($node), 'a worker runs');
always_too_large();
one_without_answer();

$node->stop;
done_testing();
