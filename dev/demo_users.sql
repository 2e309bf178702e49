-- Inserts :rows users, at most 10,000, in one statement.
--
-- Each is another pair of a given name and a family name: with a hundred of
-- each, row n has given name n mod 100, and family name (n / 100 + 61 n) mod 100,
-- where 61 n adds the same for all rows of one given name.  So the e-mails are
-- unique too, which the table checks.
WITH lists AS (
	SELECT
		string_to_array('Amelia,Noah,Chiara,Mateo,Freya,Luca,Aisha,Oliver,Ingrid,Rafael,'
			'Sofía,Henrik,Priya,Lukas,Zoë,Antoine,Mei,Callum,Yara,Stefan,'
			'Hannah,Diego,Nadia,Emil,Leila,Marcus,Elif,Tomás,Greta,Kofi,'
			'Camille,Jonas,Ananya,Patrick,Linnea,Omar,Beatriz,Felix,Sana,Hugo,'
			'Isla,Andrei,Lucía,Magnus,Fatima,Theo,Katarina,Samir,Maren,Victor,'
			'Chloé,Arjun,Elena,Declan,Astrid,Bruno,Nour,Sebastian,Paula,Kenji,'
			'Rosa,Milan,Ayşe,George,Helena,Youssef,Clara,Piotr,Imani,Daniel,'
			'Sienna,Rohan,Marta,Erik,Amina,Julien,Vera,Connor,Sakura,Pablo,'
			'Ottilie,Hassan,Agnes,Adrian,Lina,Grégoire,Mila,Tariq,Eva,Nils,'
			'Naomi,Carlos,Signe,Vikram,Alba,Joseph,Renée,Walter,Thandiwe,Ivan', ',') AS given,
		string_to_array('Novak,García,Smith,Okafor,Müller,Rossi,Tanaka,Andersen,Kowalski,Silva,'
			'Dubois,Patel,O''Brien,Haddad,Lindqvist,Petrov,Fernández,Yilmaz,Van Dijk,Nguyen,'
			'Murphy,Costa,Schneider,Nakamura,Hernández,Bakker,Ivanova,Khan,Moreau,Larsen,'
			'Johnson,Ricci,Mensah,Weber,Castro,Singh,Eriksson,Dupont,Horváth,Ali,'
			'Walsh,Santos,Fischer,Kaya,López,Nowak,De Vries,Sato,Jansen,Romano,'
			'Campbell,Pereira,Wagner,Abebe,Martínez,Virtanen,Chen,Popescu,Hughes,Greco,'
			'Bergström,Rao,Gómez,Meyer,Diallo,Conti,Wright,Hansen,Kovács,Lefèvre,'
			'Adeyemi,Becker,Marino,Kim,Ortiz,Doyle,Sørensen,Şahin,Bernard,Taylor,'
			'Sharma,Keller,Almeida,Visser,Nilsson,Torres,Mwangi,Hoffmann,Leroy,Baker,'
			'Dimitrov,Reyes,Suzuki,Ferrari,Nikolaou,Evans,Rahman,Vogel,Amaral,Lund', ',') AS family
), people AS (
	SELECT n,
		given[1 + n % 100] AS given,
		family[1 + (n / 100 + n * 61) % 100] AS family
	FROM lists, generate_series(1, :rows) AS n
)
INSERT INTO users (name, email, phonenumber)
SELECT given || ' ' || family,
	regexp_replace(translate(lower(given || '.' || family),
		'áâäàéèêëíîóöøúüçñşæå', 'aaaaeeeeiiooouucnsaa'), '[^a-z.]', '', 'g')
		|| '@example.' || (ARRAY['com', 'org', 'net'])[1 + n % 3],
	format('+1 555 %s %s', lpad((n / 10000 + 100)::text, 3, '0'), lpad((n % 10000)::text, 4, '0'))
FROM people;
