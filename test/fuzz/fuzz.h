/*
 * fuzz.h
 *		What the fuzz targets share.
 *
 * With clang and -fsanitize=fuzzer,address,undefined a target is a libFuzzer one
 * (make fuzz).  With -DREPLAY and any compiler it is a program that runs the files it
 * is given and prints TAP, so that what was once found stays tested (make unit).
 */
#ifndef CONTACTS_PUSH_FUZZ_H
#define CONTACTS_PUSH_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* abort() is what both libFuzzer and a shell notice. */
static inline void
require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

#ifdef REPLAY
/* The whole file, malloc'd, of exactly its length; NULL with errno set. */
static uint8_t *
read_file(const char *path, size_t *size)
{
	FILE	   *file = fopen(path, "rb");
	uint8_t    *data = NULL;
	long		end;

	if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) >= 0)
	{
		rewind(file);
		*size = end;
		data = malloc(*size > 0 ? *size : 1);
		if (data != NULL && fread(data, 1, *size, file) != *size)
		{
			free(data);
			data = NULL;
		}
	}
	if (file != NULL)
		fclose(file);
	return data;
}

int
main(int argc, char **argv)
{
	printf("1..%d\n", argc - 1);
	for (int i = 1; i < argc; i++)
	{
		size_t		size;
		uint8_t    *data = read_file(argv[i], &size);

		if (data == NULL)
		{
			perror(argv[i]);
			return 1;
		}
		LLVMFuzzerTestOneInput(data, size);
		free(data);
		printf("ok %d - %s\n", i, argv[i]);
		fflush(stdout);
	}
	return argc > 1 ? 0 : 1;
}
#endif

#endif							/* CONTACTS_PUSH_FUZZ_H */
