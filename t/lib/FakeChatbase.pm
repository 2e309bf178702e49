# FakeChatbase.pm
#
# A stand-in for the API that runs as long as the test does: starting it, and
# its admin side.  What a test expects of it doesn't belong here.
package FakeChatbase;

use strict;
use warnings;

use File::Basename qw(dirname);
use HTTP::Tiny;
use IO::Handle;
use IPC::Open2 qw(open2);
use JSON::PP;

my $json = JSON::PP->new->canonical->utf8->allow_nonref;

# How many seconds the admin side may take; it answers at once or never.
use constant ADMIN_TIMEOUT => 180;

# A delay_ms that lasts until release(): far longer than any test.
use constant HELD => 24 * 3600 * 1000;

sub true { return JSON::PP::true; }

# Starts one with these arguments, on a free port.  It ends with its standard
# input, so at the latest with the test.  Its certificate, if it is to have one,
# is one of make_certificate()'s.
sub start
{
	my ($class, @arguments) = @_;
	my $program = $ENV{FAKE_CHATBASE}
	  // die "FAKE_CHATBASE, the path of the stand-in, is not set; dev/test sets it";
	my %options = @arguments;
	my $self = bless {}, $class;

	$self->{ca_file} = dirname($options{'--tls-cert'}) . '/ca.pem' if $options{'--tls-cert'};
	$self->{pid} = open2($self->{stdout}, $self->{stdin},
		$program, '--port', '0', '--exit-with-stdin', @arguments);
	my $line = readline($self->{stdout}) // '';
	($self->{url}) = $line =~ /^listening on (\S+)$/
	  or die "the stand-in didn't start: $line";
	return $self;
}

# Makes certificates in a directory, for localhost unless other names are given; see
# make_certificate there.
sub make_certificate
{
	my ($directory, @names) = @_;
	my $program = dirname($ENV{FAKE_CHATBASE}) . '/make_certificate';
	system($program, $directory, @names) == 0 or die "$program failed: $?";
	return;
}

# Ends it, and with it what it still held back.
sub stop
{
	my ($self) = @_;
	return unless defined $self->{stdin};
	close delete $self->{stdin};
	waitpid $self->{pid}, 0;
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $@, $!);
	$self->stop;
	return;
}

sub url { return $_[0]{url}; }
sub base_url { return "$_[0]{url}/api/v1"; }

# One request to the admin side, with a body or without: the decoded answer.
sub admin
{
	my ($self, $path, $data) = @_;
	return $json->decode($self->admin_text($path, $data));
}

# The same, not decoded.
sub admin_text
{
	my ($self, $path, $data) = @_;
	my $method = defined $data ? 'POST' : 'GET';
	my $body = defined $data ? $json->encode($data) : '';
	my $answer = $self->{ca_file}
	  ? $self->request_in_tls($method, "/_admin/$path", $body)
	  : HTTP::Tiny->new(timeout => ADMIN_TIMEOUT)
	  ->request($method, "$self->{url}/_admin/$path", { content => $body });
	die "$path: $answer->{status} $answer->{content}" unless $answer->{status} == 200;
	return $answer->{content};
}

# The same through openssl: HTTP::Tiny would need modules that few have.
sub request_in_tls
{
	my ($self, $method, $path, $body) = @_;
	my ($address) = $self->{url} =~ m{^https://(.*)};
	my $pid = open2(my $out, my $in,
		qw(openssl s_client -quiet -verify_quiet -verify_return_error -servername localhost),
		'-CAfile', $self->{ca_file}, '-connect', $address);

	print $in "$method $path HTTP/1.1\r\nHost: $address\r\nConnection: close\r\n"
	  . 'Content-Length: ' . length($body) . "\r\n\r\n$body";
	$in->flush;
	local $/;
	my $answer = readline($out) // '';
	close $in;
	waitpid $pid, 0;
	my ($status, $content) = $answer =~ /^HTTP\/1\.1 (\d+).*?\r\n\r\n(.*)/s
	  or die "no answer from $address: $answer";
	return { status => $status, content => $content };
}

# A chatbot's id as part of a URL.
sub escape
{
	my ($text) = @_;
	$text =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge;
	return $text;
}

sub stats { return $_[0]->admin('stats'); }

# The log: the API's requests and, with number 0, any others.
sub requests { return @{ $_[0]->admin('requests') }; }

sub in_flight { return $_[0]->stats->{in_flight}; }

# Replaces the faults by these rules.
sub faults
{
	my ($self, @rules) = @_;
	$self->admin('faults', \@rules);
	return;
}

# Replaces the faults by one that has every request do this.
sub always
{
	my ($self, %action) = @_;
	my $when = delete $action{when} // 'before';
	$self->faults({ when => $when, action => \%action });
	return;
}

# Ends every delay under way, as if its time had passed.  Requests that come later are
# still delayed as the rules say.
sub release
{
	my ($self) = @_;
	$self->admin('release', {});
	return;
}

sub config
{
	my ($self, %settings) = @_;
	$self->admin('config', \%settings);
	return;
}

# Has contacts from the beginning, that nobody here has sent.
sub preset
{
	my ($self, $chatbot, @contacts) = @_;
	$self->admin("contacts?chatbot=" . escape($chatbot), { users => \@contacts });
	return;
}

# Forgets contacts, faults and log, and drops what it holds back.
sub reset
{
	my ($self) = @_;
	$self->admin('reset', {});
	return;
}

# What it holds of a chatbot: external_id => id.  Dies if an external_id is
# there twice, which it must never be.
sub held
{
	my ($self, $chatbot) = @_;
	my $text = $self->admin_text("contacts?chatbot=" . escape($chatbot) . "&brief=1");
	my %held;
	my @pairs;
	if ($text =~ /\\/)
	{
		@pairs = map { @$_ } @{ $json->decode($text) };
	}
	else
	{
		# what JSON::PP takes a second for each ten thousand for
		utf8::decode($text);
		@pairs = $text =~ /"([^"]*)"/g;
	}
	while (my ($external_id, $id) = splice @pairs, 0, 2)
	{
		die "$external_id is held twice" if exists $held{$external_id};
		$held{$external_id} = $id;
	}
	return \%held;
}

1;
