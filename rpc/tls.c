/* SPDX-License-Identifier: Apache-2.0 */
/* PEM files in memory and gRPC's credentials made from them. The fetcher runs
 * on the poller that begins a handshake. */
#include "rpc/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

#define TLS_FILE_MAX (4u << 20)

enum { TLS_CERTIFICATE, TLS_KEY, TLS_CA, TLS_FILES };

/* What tells one version of a file from another. A replacement that keeps the
 * time of the last write (cp -p, tar) has another inode or time of change. */
struct tls_version {
	ino_t inode; /* 0: the file is absent */
	off_t size;
	struct timespec written, changed;
};

/* What the files held at one time. */
struct tls_pem {
	struct buffer content[TLS_FILES];
	struct tls_version version[TLS_FILES];
	int64_t not_after_s; /* of the first certificate, since 1970 */
};

struct rpc_tls {
	char *paths[TLS_FILES]; /* NULL: not used */
	/* Guards what follows: handshakes begin on several pollers. */
	pthread_mutex_t lock;
	struct tls_version seen[TLS_FILES]; /* at the last look */
	bool fetched;                       /* gRPC has a configuration */
	struct tls_pem pem;                 /* what rpc_tls_new has read */
	int64_t not_after_s;                /* of what is in force */
};

static const char *const tls_names[TLS_FILES] = {
    "TLS certificate", "TLS key", "TLS authorities"};

static void
tls_pem_clear(struct tls_pem *pem)
{
	for (int i = 0; i < TLS_FILES; i++)
		buffer_clear(&pem->content[i]);
}

/* Seconds since 1970 at which the certificate runs out; 0 when it does not say.
 */
static int64_t
tls_not_after(const X509 *certificate)
{
	struct tm end;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1)
		return 0;
	return (int64_t)timegm(&end);
}

/* The key fits the first certificate, and all of it is PEM. */
static int
tls_pem_check(struct tls_pem *pem, char *const *paths, struct error *err)
{
	int rc = -1;
	X509 *certificate = NULL, *authority = NULL;
	EVP_PKEY *key = NULL;
	BIO *bio[TLS_FILES] = {NULL, NULL, NULL};

	for (int i = 0; i < TLS_FILES; i++)
		if (paths[i] != NULL)
			bio[i] = BIO_new_mem_buf(
			    pem->content[i].data, (int)pem->content[i].len);
	if (bio[TLS_CERTIFICATE] != NULL) {
		certificate =
		    PEM_read_bio_X509(bio[TLS_CERTIFICATE], NULL, NULL, NULL);
		key = PEM_read_bio_PrivateKey(
		    bio[TLS_KEY], NULL, NULL, (void *)(uintptr_t) "");
		if (certificate == NULL || key == NULL ||
		    X509_check_private_key(certificate, key) != 1) {
			error_set(err, ERROR_FAILED_PRECONDITION,
			    "%s and %s are not a PEM certificate and its key",
			    paths[TLS_CERTIFICATE], paths[TLS_KEY]);
			goto out;
		}
		pem->not_after_s = tls_not_after(certificate);
	}
	if (bio[TLS_CA] != NULL) {
		authority = PEM_read_bio_X509(bio[TLS_CA], NULL, NULL, NULL);
		if (authority == NULL) {
			error_set(err, ERROR_FAILED_PRECONDITION,
			    "%s holds no PEM certificate", paths[TLS_CA]);
			goto out;
		}
	}
	rc = 0;
out:
	ERR_clear_error();
	X509_free(certificate);
	X509_free(authority);
	EVP_PKEY_free(key);
	for (int i = 0; i < TLS_FILES; i++)
		BIO_free(bio[i]);
	return rc;
}

static int
tls_stat(
    const char *path, int file, struct tls_version *version, struct error *err)
{
	struct stat status;

	if (stat(path, &status) == -1) {
		error_set_errno(err, errno, "%s %s", tls_names[file], path);
		err->code = ERROR_FAILED_PRECONDITION;
		return -1;
	}
	*version = (struct tls_version){
	    .inode = status.st_ino,
	    .size = status.st_size,
	    .written = status.st_mtim,
	    .changed = status.st_ctim,
	};
	return 0;
}

/* pem is cleared on failure. */
static int
tls_pem_read(struct tls_pem *pem, char *const *paths, struct error *err)
{
	for (int i = 0; i < TLS_FILES; i++)
		buffer_init(&pem->content[i], TLS_FILE_MAX);
	for (int i = 0; i < TLS_FILES; i++) {
		if (paths[i] == NULL)
			continue;
		if (tls_stat(paths[i], i, &pem->version[i], err) < 0)
			goto fail;
		if (file_read_all(paths[i], &pem->content[i], err) < 0) {
			error_prefix(err, "%s", tls_names[i]);
			err->code = ERROR_FAILED_PRECONDITION;
			goto fail;
		}
		if (pem->content[i].len == 0) {
			error_set(err, ERROR_FAILED_PRECONDITION,
			    "%s %s is empty", tls_names[i], paths[i]);
			goto fail;
		}
	}
	if (tls_pem_check(pem, paths, err) == 0)
		return 0;
fail:
	tls_pem_clear(pem);
	return -1;
}

struct rpc_tls *
rpc_tls_new(const struct rpc_tls_files *files, struct error *err)
{
	struct rpc_tls *tls;

	if (files->certificate == NULL || files->key == NULL) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "TLS needs both a certificate and a key");
		return NULL;
	}
	tls = xcalloc(1, sizeof(*tls));
	pthread_mutex_init(&tls->lock, NULL);
	tls->paths[TLS_CERTIFICATE] = xstrdup(files->certificate);
	tls->paths[TLS_KEY] = xstrdup(files->key);
	if (files->ca != NULL)
		tls->paths[TLS_CA] = xstrdup(files->ca);
	if (tls_pem_read(&tls->pem, tls->paths, err) < 0) {
		rpc_tls_free(tls);
		return NULL;
	}
	memcpy(tls->seen, tls->pem.version, sizeof(tls->seen));
	tls->not_after_s = tls->pem.not_after_s;
	return tls;
}

void
rpc_tls_free(struct rpc_tls *tls)
{
	if (tls == NULL)
		return;
	tls_pem_clear(&tls->pem);
	for (int i = 0; i < TLS_FILES; i++)
		free(tls->paths[i]);
	pthread_mutex_destroy(&tls->lock);
	free(tls);
}

static grpc_ssl_server_certificate_config *
tls_config(const struct tls_pem *pem)
{
	grpc_ssl_pem_key_cert_pair pair = {
	    .private_key = pem->content[TLS_KEY].data,
	    .cert_chain = pem->content[TLS_CERTIFICATE].data,
	};

	/* gRPC insists on authorities even where it asks for no client
	 * certificate, and then uses them for nothing. */
	return grpc_ssl_server_certificate_config_create(
	    pem->content[TLS_CA].data != NULL ? pem->content[TLS_CA].data
					      : pair.cert_chain,
	    &pair, 1);
}

static bool
tls_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool
tls_same_version(const struct tls_version *a, const struct tls_version *b)
{
	return a->inode == b->inode && a->size == b->size &&
	       tls_same_time(&a->written, &b->written) &&
	       tls_same_time(&a->changed, &b->changed);
}

/* Under the lock: the files differ from the last look, which is now. */
static bool
tls_changed(struct rpc_tls *tls)
{
	bool changed = false;

	for (int i = 0; i < TLS_FILES; i++) {
		struct tls_version now = {.inode = 0};
		struct error err;

		/* An absent file is a change too, and then fails to be
		 * read. */
		if (tls->paths[i] == NULL)
			continue;
		(void)tls_stat(tls->paths[i], i, &now, &err);
		if (!tls_same_version(&now, &tls->seen[i]))
			changed = true;
		tls->seen[i] = now;
	}
	return changed;
}

static grpc_ssl_certificate_config_reload_status
tls_reload(struct rpc_tls *tls, grpc_ssl_server_certificate_config **config)
{
	struct tls_pem pem;
	struct error err;

	if (tls_pem_read(&pem, tls->paths, &err) < 0) {
		log_warn("tls_reload_failed",
		    "error=\"%s\" remedy=\"the old certificate stays in "
		    "force; replace the files\"",
		    err.text);
		return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
	}
	*config = tls_config(&pem);
	tls->not_after_s = pem.not_after_s;
	tls_pem_clear(&pem);
	log_info(
	    "tls_reloaded", "certificate=\"%s\"", tls->paths[TLS_CERTIFICATE]);
	return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
}

static grpc_ssl_certificate_config_reload_status
tls_fetch(void *cookie, grpc_ssl_server_certificate_config **config)
{
	struct rpc_tls *tls = cookie;
	grpc_ssl_certificate_config_reload_status status =
	    GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;

	/* The files are small and local: reading them here is the exception to
	 * "no lock across I/O", it keeps two handshakes from reloading. */
	pthread_mutex_lock(&tls->lock);
	if (!tls->fetched) {
		*config = tls_config(&tls->pem);
		tls_pem_clear(&tls->pem);
		tls->fetched = true;
		status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
	} else if (tls_changed(tls)) {
		status = tls_reload(tls, config);
	}
	pthread_mutex_unlock(&tls->lock);
	return status;
}

int64_t
rpc_tls_not_after(struct rpc_tls *tls)
{
	int64_t not_after_s;

	pthread_mutex_lock(&tls->lock);
	not_after_s = tls->not_after_s;
	pthread_mutex_unlock(&tls->lock);
	return not_after_s;
}

grpc_server_credentials *
rpc_tls_server_credentials(struct rpc_tls *tls)
{
	return grpc_ssl_server_credentials_create_with_options(
	    grpc_ssl_server_credentials_create_options_using_config_fetcher(
		tls->paths[TLS_CA] != NULL
		    ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
		    : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
		tls_fetch, tls));
}

grpc_channel_credentials *
rpc_tls_channel_credentials(
    const struct rpc_tls_files *files, struct error *err)
{
	char *paths[TLS_FILES] = {
	    (char *)(uintptr_t)files->certificate,
	    (char *)(uintptr_t)files->key,
	    (char *)(uintptr_t)files->ca,
	};
	struct tls_pem pem;
	grpc_ssl_pem_key_cert_pair pair;
	grpc_channel_credentials *credentials;

	if ((files->certificate == NULL) != (files->key == NULL)) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "a client certificate and its key belong together");
		return NULL;
	}
	if (tls_pem_read(&pem, paths, err) < 0)
		return NULL;
	pair.private_key = pem.content[TLS_KEY].data;
	pair.cert_chain = pem.content[TLS_CERTIFICATE].data;
	credentials = grpc_ssl_credentials_create_ex(pem.content[TLS_CA].data,
	    files->key != NULL ? &pair : NULL, NULL, NULL);
	tls_pem_clear(&pem);
	return credentials;
}

char *
rpc_tls_identity(grpc_call *call)
{
	static const char *const names[] = {GRPC_PEER_SPIFFE_ID_PROPERTY_NAME,
	    GRPC_X509_SAN_PROPERTY_NAME, GRPC_X509_CN_PROPERTY_NAME};
	grpc_auth_context *context = grpc_call_auth_context(call);
	char *identity = NULL;

	/* Plain text has a context too, which is not authenticated. */
	if (context != NULL &&
	    grpc_auth_context_peer_is_authenticated(context)) {
		for (size_t i = 0; i < 3 && identity == NULL; i++) {
			grpc_auth_property_iterator it =
			    grpc_auth_context_find_properties_by_name(
				context, names[i]);
			const grpc_auth_property *property =
			    grpc_auth_property_iterator_next(&it);

			if (property != NULL)
				identity = xstrndup(
				    property->value, property->value_length);
		}
	}
	grpc_auth_context_release(context);
	return identity != NULL ? identity : xstrdup("");
}
