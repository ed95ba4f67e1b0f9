/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS: who gets in, whose name the server sees, and new certificates taken
 * over while it runs. The certificates are made here, in a temporary folder.
 */
#include "tests/unit/rpc/fixture.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static char folder[] = "/tmp/rpc-tls-XXXXXX";

struct authority {
	EVP_PKEY *key;
	X509 *certificate;
};

static const char *
path_of(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void
extend(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(extension);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
}

/* Signed by the authority, or by itself when that is NULL. */
static X509 *
certify(EVP_PKEY *key, const char *name, const char *alternative,
    const struct authority *by)
{
	static long serial = 1;
	X509 *certificate = X509_new();
	X509_NAME *subject = X509_get_subject_name(certificate);

	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_set_pubkey(certificate, key);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
	    (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(certificate,
	    by != NULL ? X509_get_subject_name(by->certificate) : subject);
	if (by == NULL)
		extend(certificate, NID_basic_constraints, "critical,CA:TRUE");
	if (alternative != NULL)
		extend(certificate, NID_subject_alt_name, alternative);
	assert_true(X509_sign(certificate, by != NULL ? by->key : key,
			EVP_sha256()) > 0);
	return certificate;
}

static void
write_pem(const char *name, X509 *certificate, EVP_PKEY *key)
{
	FILE *file = fopen(path_of(name), "w");

	assert_non_null(file);
	if (certificate != NULL)
		PEM_write_X509(file, certificate);
	else
		PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
	fclose(file);
}

static struct authority
make_authority(const char *file)
{
	struct authority authority;

	authority.key = EVP_EC_gen("P-256");
	authority.certificate = certify(authority.key, file, NULL, NULL);
	write_pem(file, authority.certificate, NULL);
	return authority;
}

/* "<who>.pem" and "<who>.key". */
static void
make_identity(
    const char *who, const char *alternative, const struct authority *by)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = certify(key, who, alternative, by);
	char name[64];

	snprintf(name, sizeof(name), "%s.pem", who);
	write_pem(name, certificate, NULL);
	snprintf(name, sizeof(name), "%s.key", who);
	write_pem(name, NULL, key);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

static struct authority ours, others;

static int
make_certificates(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	ours = make_authority("ca.pem");
	others = make_authority("other-ca.pem");
	make_identity("server", "DNS:localhost,IP:127.0.0.1", &ours);
	make_identity("worker", "URI:spiffe://farm/worker/7", &ours);
	make_identity("plain-name", NULL, &ours);
	make_identity("stranger", "DNS:stranger", &others);
	return 0;
}

static int
remove_certificates(void **state)
{
	struct error err;

	(void)state;
	X509_free(ours.certificate);
	X509_free(others.certificate);
	EVP_PKEY_free(ours.key);
	EVP_PKEY_free(others.key);
	return file_remove_tree(folder, &err);
}

static void
start_tls(const char *who, const char *client_ca)
{
	struct rpc_server_options options = fixture_options("127.0.0.1:0");
	char name[64];

	snprintf(name, sizeof(name), "%s.pem", who);
	options.tls_certificate = path_of(name);
	snprintf(name, sizeof(name), "%s.key", who);
	options.tls_key = path_of(name);
	options.tls_client_ca = client_ca;
	fixture_start(&options);
	snprintf(fixture.address, sizeof(fixture.address), "grpcs://%s",
	    rpc_server_address(fixture.server));
}

static int
tls_setup(void **state)
{
	(void)state;
	memset(&fixture, 0, sizeof(fixture));
	fixture.pool = thread_pool_new(1);
	return 0;
}

/* What Describe answers after the last '|', or NULL. */
static const char *
identity_of(const char *ca, const char *who, struct error *err)
{
	static char out[256];
	char certificate[128] = "", key[128] = "";
	struct rpc_channel_options options = {
	    .address = fixture.address, .tls_ca = path_of(ca)};
	struct rpc_channel *channel;
	int rc;

	if (who != NULL) {
		snprintf(
		    certificate, sizeof(certificate), "%s/%s.pem", folder, who);
		snprintf(key, sizeof(key), "%s/%s.key", folder, who);
		options.tls_certificate = certificate;
		options.tls_key = key;
	}
	channel = rpc_channel_open(&options, err);
	assert_non_null(channel);
	rc = call_text(
	    channel, "/t.T/Describe", "", &patience, out, sizeof(out), err);
	rpc_channel_close(channel);
	return rc < 0 ? NULL : strrchr(out, '|') + 1;
}

static void
tls_serves_anonymous_clients_that_trust_it(void **state)
{
	struct error err;

	(void)state;
	start_tls("server", NULL);
	assert_string_equal(identity_of("ca.pem", NULL, &err), "");
	assert_null(identity_of("other-ca.pem", NULL, &err));
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
}

static void
client_certificates_are_demanded_and_name_the_client(void **state)
{
	struct error err;
	char ca[128];

	(void)state;
	snprintf(ca, sizeof(ca), "%s/ca.pem", folder);
	start_tls("server", ca);
	assert_string_equal(
	    identity_of("ca.pem", "worker", &err), "spiffe://farm/worker/7");
	assert_string_equal(
	    identity_of("ca.pem", "plain-name", &err), "plain-name");
	assert_null(identity_of("ca.pem", NULL, &err));
	assert_null(identity_of("ca.pem", "stranger", &err));
	/* The answer may be here before the server is done with the call. */
	wait_until(&fixture.finished, 2);
}

static void
new_certificate_is_taken_over_while_running(void **state)
{
	struct error err;

	(void)state;
	make_identity("reloaded", "IP:127.0.0.1", &ours);
	start_tls("reloaded", NULL);
	assert_non_null(identity_of("ca.pem", NULL, &err));
	/* Broken files leave the old ones in force. */
	assert_int_equal(truncate(path_of("reloaded.pem"), 10), 0);
	assert_non_null(identity_of("ca.pem", NULL, &err));
	make_identity("reloaded", "IP:127.0.0.1", &others);
	assert_null(identity_of("ca.pem", NULL, &err));
	assert_non_null(identity_of("other-ca.pem", NULL, &err));
}

/* Gives path the times of its last write that like has. */
static void
keep_time(const char *like, const char *path)
{
	struct stat status;
	struct timespec times[2];

	assert_int_equal(stat(like, &status), 0);
	times[0] = status.st_atim;
	times[1] = status.st_mtim;
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* As `cp -p` and configuration management do. */
static void
certificate_with_the_time_of_the_old_one_is_taken_over(void **state)
{
	struct error err;

	(void)state;
	make_identity("kept", "IP:127.0.0.1", &ours);
	make_identity("next", "IP:127.0.0.1", &others);
	start_tls("kept", NULL);
	assert_non_null(identity_of("ca.pem", NULL, &err));
	keep_time(path_of("kept.pem"), path_of("next.pem"));
	keep_time(path_of("kept.key"), path_of("next.key"));
	assert_int_equal(rename(path_of("next.key"), path_of("kept.key")), 0);
	assert_int_equal(rename(path_of("next.pem"), path_of("kept.pem")), 0);
	assert_null(identity_of("ca.pem", NULL, &err));
	assert_non_null(identity_of("other-ca.pem", NULL, &err));
}

static void
bad_files_are_named(void **state)
{
	struct rpc_server_options options = fixture_options("127.0.0.1:0");
	struct rpc_channel_options channel = {.address = "grpcs://127.0.0.1:1"};
	struct error err;

	(void)state;
	options.tls_certificate = path_of("absent.pem");
	options.tls_key = path_of("server.key");
	assert_null(rpc_server_new(&options, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(err.text, "absent.pem"));
	options.tls_certificate = path_of("worker.pem"); /* another's */
	assert_null(rpc_server_new(&options, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(err.text, "worker.pem"));
	options.tls_certificate = NULL;
	assert_null(rpc_server_new(&options, &err));
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	channel.tls_ca = path_of("nowhere.pem");
	assert_null(rpc_channel_open(&channel, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(err.text, "nowhere.pem"));
}

static void
plain_text_client_gets_nothing_from_tls(void **state)
{
	struct error err;
	struct rpc_channel *channel;
	char out[16];

	(void)state;
	start_tls("server", NULL);
	snprintf(fixture.address, sizeof(fixture.address), "grpc://%s",
	    rpc_server_address(fixture.server));
	channel = open_channel();
	assert_int_equal(call_text(channel, "/t.T/Unary", "", &patience, out,
			     sizeof(out), &err),
	    -1);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	rpc_channel_close(channel);
}

/* Nine pauses of tries again are more than twelve seconds. */
static void
what_tls_refuses_is_not_tried_again(void **state)
{
	const struct rpc_call_options often = {
	    .timeout_ms = 60000, .retries = 9};
	struct rpc_channel_options options = {.address = fixture.address};
	struct rpc_channel *channel;
	struct error err;
	int64_t before;
	char out[16];

	(void)state;
	start_tls("server", NULL);
	options.tls_ca = path_of("other-ca.pem");
	channel = rpc_channel_open(&options, &err);
	assert_non_null(channel);
	before = clock_monotonic_ms();
	assert_int_equal(call_text(channel, "/t.T/Unary", "", &often, out,
			     sizeof(out), &err),
	    -1);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	assert_true(clock_monotonic_ms() - before < 12000);
	rpc_channel_close(channel);
}

#define FACT(name) \
	cmocka_unit_test_setup_teardown(name, tls_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    FACT(tls_serves_anonymous_clients_that_trust_it),
	    FACT(client_certificates_are_demanded_and_name_the_client),
	    FACT(new_certificate_is_taken_over_while_running),
	    FACT(certificate_with_the_time_of_the_old_one_is_taken_over),
	    FACT(bad_files_are_named),
	    FACT(plain_text_client_gets_nothing_from_tls),
	    FACT(what_tls_refuses_is_not_tried_again),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(
	    tests, make_certificates, remove_certificates);
	rpc_shutdown();
	return failed;
}
