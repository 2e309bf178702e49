#!/usr/bin/perl
#
# bench/report.pl FILE show NAME UNIT [at-least|at-most TARGET]
# bench/report.pl FILE compare A B [at-least|at-most TARGET]
#	Prints medians of samples.  FILE has a line "name<TAB>number" a sample, one a
#	name and round; A and B are names.  Exit status 3: the median, or that of the
#	ratios of each round, misses the target.
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

# Prints a line about numbers and whether their median meets the target; returns
# the exit status.
sub judge
{
	my ($title, $unit, $numbers, $direction, $target) = @_;
	my @sorted = sort { $a <=> $b } @$numbers;
	my $median = median(@sorted);
	my $met = !defined $direction
		|| ($direction eq 'at-least' ? $median >= $target : $median <= $target);

	printf "    %-36s %9s %-11s (%s to %s, %d rounds)%s\n", $title, shown($median), $unit,
		shown($sorted[0]), shown($sorted[-1]), scalar @sorted,
		defined $direction
		? sprintf('  %s %s: %s', $direction =~ tr/-/ /r, $target, $met ? 'met' : 'MISSED')
		: '';
	return $met ? 0 : 3;
}

sub values_of
{
	my ($samples, $name) = @_;

	return @{ $samples->{$name} // die "no samples of $name\n" };
}

sub show
{
	my ($samples, $name, $unit, @target) = @_;

	return judge($name, $unit, [ values_of($samples, $name) ], @target);
}

sub compare
{
	my ($samples, $name, $base, @target) = @_;
	my @values = values_of($samples, $name);
	my @bases = values_of($samples, $base);

	die "$name and $base have not as many samples\n" if @values != @bases;
	return judge("$name : $base", '', [ map { $values[$_] / $bases[$_] } 0 .. $#values ], @target);
}

my ($file, $what, @arguments) = @ARGV;
my $samples = read_samples($file);

exit($what eq 'show' ? show($samples, @arguments) : compare($samples, @arguments));
