# Building without what it takes names the package that is missing; and what is said of the
# project in several files is the same in each.
use strict;
use warnings;

use File::Basename qw(dirname);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $sources = dirname($ENV{FAKE_CHATBASE}) . '/../..';
my $dir = PostgreSQL::Test::Utils::tempdir;
my ($pg_config) = grep { -x } map { "$_/pg_config" } split /:/, $ENV{PATH};

# A program that answers as this shell script says.
sub program
{
	my ($name, $script) = @_;
	unlink "$dir/$name";
	append_to_file("$dir/$name", "#!/bin/sh\n$script\n");
	chmod 0755, "$dir/$name" or die;
	return "$dir/$name";
}

# What make says when it is told to build with these variables.
sub make
{
	my (@variables) = @_;
	my ($stdout, $stderr) = run_command([ 'make', '-n', '-C', $sources, @variables, 'install' ]);
	return $stderr =~ /\*\*\* (.*)\.  Stop\./ ? $1 : 'built' if $stdout =~ /contacts_push|^make/ || $stderr =~ /Stop/;
	return "$stdout$stderr";
}

# All that pg_config says, but for one thing.
sub pg_config_but { return program('pg_config', "case \$1 in\n$_[0] ;;\n*) exec $pg_config \"\$@\" ;;\nesac"); }

my ($major) = (run_command([ $pg_config, '--version' ]))[0] =~ /^PostgreSQL (\d+)/;
is(make("PG_CONFIG=$pg_config"), 'built', 'with everything it is built');
is(make("PG_CONFIG=$dir/none"), "cannot run $dir/none: please install postgresql-server-dev-15 or later or say PG_CONFIG=PATH", 'without pg_config');
my $headers = "needs the headers of the server: please install postgresql-server-dev-$major";
is(make('PG_CONFIG=' . pg_config_but("--pgxs) echo $dir/pgxs.mk")), $headers, 'without PGXS');
is(make('PG_CONFIG=' . pg_config_but("--includedir-server) echo $dir")), $headers, 'with PGXS, but no headers');
is(make('PG_CONFIG=' . pg_config_but('--version) echo PostgreSQL 14.9')), 'needs PostgreSQL 15 or later: please say PG_CONFIG=PATH', 'with an old PostgreSQL');
is(make("PG_CONFIG=$pg_config", "PKG_CONFIG=$dir/none"), "cannot run $dir/none: please install pkg-config", 'without pkg-config');
for my $missing ([ 'libcurl >= 7.80', 'libcurl4-openssl-dev' ], [ 'json-c', 'libjson-c-dev' ])
{
	my ($library, $package) = @$missing;
	my $script = program('pkg-config', "case \"\$*\" in *'--exists $library'*) exit 1 ;; esac\nexec pkg-config \"\$@\"");
	is(make("PG_CONFIG=$pg_config", "PKG_CONFIG=$script"), "needs $library: please install $package", "without $library");
}

# The rules are those of the PGXN Meta Spec 1.0.0.
my $meta = decode_json(slurp_file("$sources/META.json"));
my $version = qr/^(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[0-9A-Za-z.-]+)?$/;
for my $required (qw(name version abstract maintainer license provides meta-spec))
{
	ok($meta->{$required}, "META.json has $required");
}
is(join(' ', grep { !/^(?:name|version|abstract|description|maintainer|license|provides|meta-spec|prereqs|release_status|generated_by|no_index|tags|resources|[xX]_.*)$/ } sort keys %$meta),
	'', 'and nothing that the spec does not know');
like($meta->{name}, qr/^[^\s\/\\]{2,}$/, 'a name');
like($meta->{version}, $version, 'a semantic version');
is($meta->{license}, 'postgresql', 'a license of the list');
like($meta->{release_status}, qr/^(?:stable|testing|unstable)$/, 'a status');
is($meta->{'meta-spec'}{version}, '1.0.0', 'the version of the spec');
is(join(' ', grep { length > 256 || m{[/\\[:cntrl:]]} } @{ $meta->{tags} }), '', 'tags');
while (my ($phase, $relations) = each %{ $meta->{prereqs} })
{
	like($phase, qr/^(?:configure|build|test|runtime|develop)$/, "a phase, $phase");
	like($_, qr/^(?:requires|recommends|suggests|conflicts)$/, "a relation, $_") for keys %$relations;
	is(join(' ', grep { $_ ne '0' && !/$version/ } map { values %$_ } values %$relations), '', 'and versions');
}
for my $extension (values %{ $meta->{provides} })
{
	like($extension->{version}, $version, 'what is provided has a version');
	ok(-e "$sources/$extension->{$_}", "and its $_ is there") for qw(file docfile);
}

# One version everywhere.
my ($default_version) = slurp_file("$sources/contacts_push.control") =~ /^default_version *= *'(.*)'/m;
is_deeply([ keys %{ $meta->{provides} } ], ['contacts_push'], 'what is provided is the extension');
like($meta->{version}, qr/^\Q$default_version\E\./, 'in the version of the control file');
is($meta->{provides}{contacts_push}{file}, "sql/contacts_push--$default_version.sql", 'by its script');
my ($changes) = slurp_file("$sources/CHANGELOG.md") =~ /^## \[(.*?)\]/m;
is($changes, $meta->{version}, 'the newest changes are those of this version');
my ($package) = slurp_file("$sources/debian/changelog") =~ /\((.*?)-/;
is($package, $meta->{version}, 'and the Debian package is of it');
my ($license) = slurp_file("$sources/LICENSE") =~ /^(Permission.*)/ms;
my ($copyright) = slurp_file("$sources/debian/copyright") =~ /^ (Permission.*)/ms;
is($copyright =~ s/^ \.?//gmr, $license, 'which has the license');

done_testing();
