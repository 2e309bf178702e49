#!/usr/bin/perl
#
# bench/report.pl FILE show NAME UNIT
# bench/report.pl FILE compare A B [at-least|at-most TARGET]
#	Prints medians of samples.  FILE has a line "name<TAB>number" a sample, one a
#	name and round.  Exit status 3: the median ratio misses the target.
use strict;
use warnings;

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	my $middle = int(@sorted / 2);

	return @sorted % 2 ? $sorted[$middle] : ($sorted[ $middle - 1 ] + $sorted[$middle]) / 2;
}

sub read_samples
{
	my ($file) = @_;
	my %samples;

	open my $in, '<', $file or die "$file: $!\n";
	while (<$in>)
	{
		/^([^\t]+)\t([0-9.eE+-]+)$/ or die "$file: line $.: not a sample: $_";
		push @{ $samples{$1} }, $2;
	}
	return \%samples;
}

# A number with three significant digits at least.
sub shown
{
	my ($number) = @_;

	return sprintf '%.3f', $number if abs($number) < 10;
	return sprintf '%.1f', $number if abs($number) < 1000;
	return sprintf '%.0f', $number;
}

sub show
{
	my ($samples, $name, $unit) = @_;
	my @values = @{ $samples->{$name} // die "no samples of $name\n" };

	printf "    %-44s %10s %s  (%s to %s, %d)\n", $name, shown(median(@values)), $unit,
		map({ shown($_) } (sort { $a <=> $b } @values)[ 0, -1 ]), scalar @values;
	return 0;
}

sub compare
{
	my ($samples, $name, $base, $direction, $target) = @_;
	my @values = @{ $samples->{$name} // die "no samples of $name\n" };
	my @bases = @{ $samples->{$base} // die "no samples of $base\n" };

	die "$name and $base have not as many samples\n" if @values != @bases;
	my @ratios = map { $values[$_] / $bases[$_] } 0 .. $#values;
	my $ratio = median(@ratios);
	my $met = !defined $direction || ($direction eq 'at-least' ? $ratio >= $target : $ratio <= $target);

	printf "    %-44s %10.3f    (%.3f to %.3f, %d pairs)%s\n", "$name : $base", $ratio,
		(sort { $a <=> $b } @ratios)[ 0, -1 ], scalar @ratios,
		defined $direction
		? sprintf('  %s %s: %s', $direction =~ tr/-/ /r, $target, $met ? 'met' : 'MISSED')
		: '';
	return $met ? 0 : 3;
}

my ($file, $what, @arguments) = @ARGV;
my $samples = read_samples($file);

exit($what eq 'show' ? show($samples, @arguments) : compare($samples, @arguments));
