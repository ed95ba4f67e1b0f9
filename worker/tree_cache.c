/* SPDX-License-Identifier: Apache-2.0 */
/* A map of trees by digest, a list by use, and the directory behind them. The
 * lock is not held while a tree is made or removed. */
#include "worker/tree_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "worker/image_mount.h"
#include "worker/tree_build.h"
#include "worker/tree_image.h"

#define NAME_LEN (DIGEST_TEXT_MAX + 16)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_LEN 36
/* How soon somebody who waits notices that he need not any more. */
#define WAIT_STEP_MS 100

enum tree_state {
	TREE_MAKING, /* by one thread; in the map alone */
	TREE_READY,  /* in the map and in the list */
};

struct tree {
	struct digest digest; /* its key in the map */
	char name[NAME_LEN];
	enum tree_state state;
	int directory; /* of its root; -1 while it is made, and of a layer */
	struct image_lower lower; /* of a layer; else -1 */
	uint64_t bytes;
	size_t pins;
	struct timespec used; /* only while the cache opens */
	TAILQ_ENTRY(tree) link;
};

TAILQ_HEAD(tree_list, tree);

struct tree_cache {
	char *path;
	int directory;
	struct tree_cache_options options; /* path: the cache's own copy */
	size_t count;                      /* of trees in the list */
	char boot[BOOT_ID_LEN + 1];        /* "" = unknown */
	atomic_uint_least64_t generation;
	/* Guards all below and the trees' state, pins and links. bytes is the
	 * sum over the list. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a tree left TREE_MAKING */
	struct map trees;
	struct tree_list by_use; /* longest unused first */
	uint64_t bytes;
	uint64_t number; /* for names of what is made or removed */
	uint64_t made;
	uint64_t evicted;
};

static enum log_level
level_of(const struct tree_cache *cache)
{
	return cache->options.quiet ? LOG_DEBUG : LOG_INFO;
}

static struct tree *
tree_new(const struct digest *digest)
{
	struct tree *tree = xcalloc(1, sizeof(*tree));
	char hash[DIGEST_TEXT_MAX];

	tree->digest = *digest;
	tree->directory = -1;
	tree->lower = (struct image_lower){-1, -1};
	snprintf(tree->name, sizeof(tree->name), "%s-%s-%llu",
	    digest_function_name(digest->function),
	    digest_format_hash(digest, hash), (unsigned long long)digest->size);
	return tree;
}

static void
tree_free(struct tree *tree)
{
	file_close(&tree->directory);
	file_close(&tree->lower.mount);
	file_close(&tree->lower.bodies);
	free(tree);
}

/* --- opening --------------------------------------------------------------
 */

/* Without it no tree is taken for complete later. */
static void
read_boot(struct tree_cache *cache)
{
	struct error ignored;
	struct buffer text;

	buffer_init(&text, 256);
	if (file_read_all(BOOT_ID, &text, &ignored) == 0 &&
	    text.len >= BOOT_ID_LEN)
		memcpy(cache->boot, text.data, BOOT_ID_LEN);
	buffer_clear(&text);
}

static int
parse_name(const char *name, struct digest *digest)
{
	struct str rest = str_from(name);
	struct str function = str_cut(&rest, '-');
	struct str hash = str_cut(&rest, '-');
	struct error ignored;
	uint64_t size;

	if (digest_function_parse(function) == DIGEST_UNKNOWN ||
	    !str_to_uint64(rest, DIGEST_SIZE_MAX, &size))
		return -1;
	return digest_parse(digest_function_parse(function), hash,
	    (int64_t)size, digest, &ignored);
}

static bool
read_marker(const struct tree_cache *cache, const char *name, struct tree *tree,
    struct error *err)
{
	char *path = xasprintf("%s/%s/complete", cache->path, name);
	struct buffer text;
	struct stat status;
	struct str rest;
	bool valid = false;

	buffer_init(&text, 256);
	if (cache->boot[0] != '\0' && file_read_all(path, &text, err) == 0 &&
	    stat(path, &status) == 0) {
		rest = buffer_str(&text);
		tree->used = status.st_mtim;
		valid = str_equal(str_cut(&rest, ' '), str_from(cache->boot)) &&
			str_to_uint64(
			    str_cut(&rest, ' '), UINT64_MAX, &tree->bytes) &&
			str_equal(str_cut(&rest, '\n'),
			    str_from(staging_name(cache->options.staging)));
	}
	buffer_clear(&text);
	free(path);
	return valid;
}

static struct tree_image
image_of(const struct tree_cache *cache, const struct tree *tree, int directory)
{
	return (struct tree_image){.directory = directory,
	    .top = tree->name,
	    .uid = cache->options.uid,
	    .gid = cache->options.gid,
	    .by_path = cache->options.staging == STAGING_EROFS_PATH};
}

/* Makes the tree ready for use, under its own name. */
static int
open_root(const struct tree_cache *cache, struct tree *tree, struct error *err)
{
	int directory = openat(cache->directory, tree->name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	const struct tree_image image = image_of(cache, tree, directory);
	bool layer = cache->options.layers;
	int rc = 0;

	if (directory == -1)
		return error_set_errno(
		    err, errno, "open the tree %s", tree->name);
	if (layer)
		rc = tree_image_open_layer(&image, &tree->lower, err);
	else if (staging_has_images(cache->options.staging))
		rc = tree_image_mount(&image, err);
	if (rc == 0 && !layer)
		tree->directory = openat(directory, "root",
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (rc == 0 && !layer && tree->directory == -1)
		rc =
		    error_set_errno(err, errno, "open the tree %s", tree->name);
	file_close(&directory);
	return rc;
}

/* A tree that a process before us completed; NULL for anything else. */
static struct tree *
recognise(const struct tree_cache *cache, const char *name)
{
	struct error ignored;
	struct digest digest;
	struct tree *tree;

	if (parse_name(name, &digest) < 0)
		return NULL;
	tree = tree_new(&digest);
	tree->state = TREE_READY;
	if (strcmp(tree->name, name) == 0 &&
	    read_marker(cache, name, tree, &ignored) &&
	    open_root(cache, tree, &ignored) == 0)
		return tree;
	tree_free(tree);
	return NULL;
}

static bool
is_older(const struct tree *a, const struct tree *b)
{
	return a->used.tv_sec != b->used.tv_sec
		   ? a->used.tv_sec < b->used.tv_sec
		   : a->used.tv_nsec < b->used.tv_nsec;
}

/* Among the others by the time of the last use. */
static void
insert_found(struct tree_cache *cache, struct tree *tree)
{
	struct tree *other;

	TAILQ_FOREACH (other, &cache->by_use, link)
		if (is_older(tree, other))
			break;
	if (other != NULL)
		TAILQ_INSERT_BEFORE(other, tree, link);
	else
		TAILQ_INSERT_TAIL(&cache->by_use, tree, link);
	map_put(&cache->trees, digest_key(&tree->digest), tree);
	cache->bytes += tree->bytes;
	cache->count++;
}

static int
remove_name(const struct tree_cache *cache, const char *name, struct error *err)
{
	char *path = xasprintf("%s/%s", cache->path, name);
	int rc;

	if (staging_has_images(cache->options.staging))
		tree_image_unmount(path);
	rc = file_remove_tree(path, err);

	free(path);
	return rc;
}

static int
scan(struct tree_cache *cache, struct error *err)
{
	DIR *stream = opendir(cache->path);
	const struct dirent *entry;
	int rc = 0;

	if (stream == NULL)
		return error_set_errno(err, errno, "read %s", cache->path);
	while (rc == 0 && (entry = readdir(stream)) != NULL) {
		struct tree *tree;

		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		tree = recognise(cache, entry->d_name);
		if (tree != NULL)
			insert_found(cache, tree);
		else
			rc = remove_name(cache, entry->d_name, err);
	}
	closedir(stream);
	return rc;
}

static void evict(struct tree_cache *cache);

struct tree_cache *
tree_cache_open(const struct tree_cache_options *options, struct error *err)
{
	struct tree_cache *cache = xcalloc(1, sizeof(*cache));

	cache->options = *options;
	cache->path = xstrdup(options->path);
	cache->options.path = cache->path;
	cache->directory = -1;
	pthread_mutex_init(&cache->lock, NULL);
	condition_init(&cache->changed);
	map_init(&cache->trees);
	TAILQ_INIT(&cache->by_use);
	read_boot(cache);
	if (file_make_directories(cache->path, err) < 0)
		goto failed;
	cache->directory =
	    open(cache->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cache->directory == -1) {
		error_set_errno(err, errno, "open %s", cache->path);
		goto failed;
	}
	if (scan(cache, err) < 0)
		goto failed;
	evict(cache);
	return cache;
failed:
	tree_cache_close(cache);
	return NULL;
}

/* The mount goes, for this process. */
static void
hide(const struct tree_cache *cache, const struct tree *tree)
{
	char *path;

	if (!staging_has_images(cache->options.staging))
		return;
	path = xasprintf("%s/%s", cache->path, tree->name);
	tree_image_unmount(path);
	free(path);
}

void
tree_cache_close(struct tree_cache *cache)
{
	struct tree *tree;

	if (cache == NULL)
		return;
	while ((tree = TAILQ_FIRST(&cache->by_use)) != NULL) {
		TAILQ_REMOVE(&cache->by_use, tree, link);
		hide(cache, tree);
		tree_free(tree);
	}
	map_clear(&cache->trees);
	pthread_cond_destroy(&cache->changed);
	pthread_mutex_destroy(&cache->lock);
	file_close(&cache->directory);
	free(cache->path);
	free(cache);
}

/* --- removing -------------------------------------------------------------
 */

/* Under the lock. */
static bool
is_over(const struct tree_cache *cache)
{
	return cache->bytes > cache->options.max_bytes ||
	       (cache->options.max_trees > 0 &&
		   cache->count > cache->options.max_trees);
}

/* The tree longest unused that nobody has, taken out; NULL when all is well or
 * nothing can go. Its directory has another name afterwards. */
static struct tree *
take_victim(struct tree_cache *cache, char name[static NAME_LEN])
{
	struct tree *tree = NULL;

	pthread_mutex_lock(&cache->lock);
	if (is_over(cache)) {
		TAILQ_FOREACH (tree, &cache->by_use, link)
			if (tree->pins == 0)
				break;
	}
	if (tree != NULL) {
		TAILQ_REMOVE(&cache->by_use, tree, link);
		map_remove(&cache->trees, digest_key(&tree->digest));
		cache->bytes -= tree->bytes;
		cache->count--;
		cache->evicted++;
		atomic_fetch_add(&cache->generation, 1);
		snprintf(name, NAME_LEN, "old-%llu",
		    (unsigned long long)cache->number++);
		/* Under the lock: another thread may make it anew at once. If
		 * it fails, so does that thread's own rename, and says why. */
		if (renameat(cache->directory, tree->name, cache->directory,
			name) == -1)
			name[0] = '\0';
	}
	pthread_mutex_unlock(&cache->lock);
	return tree;
}

static void
evict(struct tree_cache *cache)
{
	char name[NAME_LEN];
	struct tree *tree;
	struct error err;

	while ((tree = take_victim(cache, name)) != NULL) {
		log_write(level_of(cache), "tree_evicted", "tree=%s bytes=%llu",
		    tree->name, (unsigned long long)tree->bytes);
		tree_free(tree);
		if (name[0] != '\0' && remove_name(cache, name, &err) < 0)
			log_warn("tree_left", "name=%s error=\"%s\"", name,
			    err.text);
	}
}

/* --- making ---------------------------------------------------------------
 */

static int
write_marker(const struct tree_cache *cache, int directory, uint64_t bytes,
    struct error *err)
{
	char text[64];
	int fd = openat(directory, "complete",
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc;

	if (fd == -1)
		return error_set_errno(err, errno, "mark a tree complete");
	snprintf(text, sizeof(text), "%s %llu %s\n", cache->boot,
	    (unsigned long long)bytes, staging_name(cache->options.staging));
	rc = file_write(fd, text, strlen(text), err);
	file_close(&fd);
	return rc;
}

static int
open_new(const struct tree_cache *cache, const char *name, int *directory,
    int *root, struct error *err)
{
	if (mkdirat(cache->directory, name, 0700) == -1)
		return error_set_errno(err, errno, "make %s", name);
	*directory =
	    openat(cache->directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*directory == -1 || mkdirat(*directory, "root", 0755) == -1)
		return error_set_errno(err, errno, "make a tree in %s", name);
	*root = openat(*directory, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*root == -1)
		return error_set_errno(err, errno, "open a tree in %s", name);
	return 0;
}

/* The tree used last, likely to be another version of the one to be made; NULL
 * when there is none. */
static struct tree *
pin_newest(struct tree_cache *cache)
{
	struct tree *tree;

	pthread_mutex_lock(&cache->lock);
	tree = TAILQ_LAST(&cache->by_use, tree_list);
	if (tree != NULL)
		tree->pins++;
	pthread_mutex_unlock(&cache->lock);
	return tree;
}

/* Whether something has to be evicted now. */
static bool
unpin(struct tree_cache *cache, struct tree *tree)
{
	bool over;

	pthread_mutex_lock(&cache->lock);
	tree->pins--;
	over = is_over(cache);
	pthread_mutex_unlock(&cache->lock);
	return over;
}

/* Makes the directory under the name; the caller removes what is left. */
static int
build_named(struct tree_cache *cache, const struct tree_request *request,
    struct tree *tree, const char *name, struct error *err)
{
	struct tree_build build = {.store = request->store,
	    .max_bytes = cache->options.max_bytes,
	    .cancel_fd = request->cancel_fd,
	    .missing = request->missing};
	struct tree *like = pin_newest(cache);
	struct tree_image image;
	int directory = -1;
	int root = -1;
	int rc = -1;

	build.like = like != NULL ? like->directory : -1;
	if (open_new(cache, name, &directory, &root, err) < 0)
		goto out;
	image = image_of(cache, tree, directory);
	if ((staging_has_images(cache->options.staging)
		    ? tree_image_build(&build, &image, &tree->digest, err)
		    : tree_build(&build, root, &tree->digest, err)) < 0 ||
	    write_marker(cache, directory, build.bytes, err) < 0)
		goto out;
	if (renameat(cache->directory, name, cache->directory, tree->name) ==
	    -1) {
		error_set_errno(err, errno, "name the tree %s", tree->name);
		goto out;
	}
	tree->bytes = build.bytes;
	rc = open_root(cache, tree, err);
out:
	if (like != NULL)
		(void)unpin(cache, like);
	file_close(&directory);
	file_close(&root);
	return rc;
}

static int
make(struct tree_cache *cache, const struct tree_request *request,
    struct tree *tree, struct error *err)
{
	int64_t start_ms = clock_monotonic_ms();
	int64_t fetched_ms;
	struct error ignored;
	char name[NAME_LEN];

	if (request->fetch != NULL &&
	    request->fetch(request->cookie, &tree->digest, err) < 0)
		return -1;
	fetched_ms = clock_monotonic_ms();
	pthread_mutex_lock(&cache->lock);
	snprintf(name, sizeof(name), "new-%llu",
	    (unsigned long long)cache->number++);
	pthread_mutex_unlock(&cache->lock);
	if (build_named(cache, request, tree, name, err) < 0) {
		/* The next start removes what cannot be removed now. */
		(void)remove_name(cache, name, &ignored);
		(void)remove_name(cache, tree->name, &ignored);
		return -1;
	}
	log_write(level_of(cache), "tree_made",
	    "tree=%s bytes=%llu fetch_ms=%lld make_ms=%lld", tree->name,
	    (unsigned long long)tree->bytes, (long long)(fetched_ms - start_ms),
	    (long long)(clock_monotonic_ms() - fetched_ms));
	return 0;
}

/* --- getting --------------------------------------------------------------
 */

static bool
is_cancelled(const struct tree_request *request)
{
	struct pollfd poll_fd = {request->cancel_fd, POLLIN, 0};

	return request->cancel_fd != -1 && poll(&poll_fd, 1, 0) > 0;
}

/* Under the lock: until nobody makes the tree. The tree, pinned; one that is
 * ours to make, with *ours set; or NULL with CANCELLED. */
static struct tree *
find_or_begin(struct tree_cache *cache, const struct tree_request *request,
    bool *ours, struct error *err)
{
	struct tree *tree;

	*ours = false;
	while ((tree = map_get(&cache->trees, digest_key(&request->root))) !=
	       NULL) {
		if (tree->state == TREE_READY) {
			tree->pins++;
			TAILQ_REMOVE(&cache->by_use, tree, link);
			TAILQ_INSERT_TAIL(&cache->by_use, tree, link);
			return tree;
		}
		if (is_cancelled(request)) {
			error_set(err, ERROR_CANCELLED,
			    "the tree is no longer wanted");
			return NULL;
		}
		condition_wait_for(&cache->changed, &cache->lock, WAIT_STEP_MS);
	}
	*ours = true;
	tree = tree_new(&request->root);
	map_put(&cache->trees, digest_key(&tree->digest), tree);
	return tree;
}

/* The tree is made, or, with rc < 0, was not and is freed. */
static struct tree *
end_making(struct tree_cache *cache, struct tree *tree, int rc)
{
	pthread_mutex_lock(&cache->lock);
	if (rc == 0) {
		tree->state = TREE_READY;
		tree->pins = 1;
		TAILQ_INSERT_TAIL(&cache->by_use, tree, link);
		cache->bytes += tree->bytes;
		cache->count++;
		cache->made++;
		atomic_fetch_add(&cache->generation, 1);
	} else {
		map_remove(&cache->trees, digest_key(&tree->digest));
	}
	pthread_cond_broadcast(&cache->changed);
	pthread_mutex_unlock(&cache->lock);
	if (rc < 0) {
		tree_free(tree);
		return NULL;
	}
	evict(cache);
	return tree;
}

struct tree *
tree_cache_get(struct tree_cache *cache, const struct tree_request *request,
    struct error *err)
{
	struct tree *tree;
	bool ours;

	pthread_mutex_lock(&cache->lock);
	tree = find_or_begin(cache, request, &ours, err);
	pthread_mutex_unlock(&cache->lock);
	if (!ours)
		return tree;
	if (request->made != NULL)
		*request->made = true;
	return end_making(cache, tree, make(cache, request, tree, err));
}

void
tree_unpin(struct tree_cache *cache, struct tree *tree)
{
	char path[NAME_LEN + 16];

	/* Only for the order after a restart. */
	snprintf(path, sizeof(path), "%s/complete", tree->name);
	(void)utimensat(cache->directory, path, NULL, 0);
	if (unpin(cache, tree))
		evict(cache);
}

int
tree_descriptor(const struct tree *tree)
{
	return tree->directory;
}

const char *
tree_top(const struct tree *tree)
{
	return tree->name;
}

const struct image_lower *
tree_lower(const struct tree *tree)
{
	return &tree->lower;
}

size_t
tree_cache_list(struct tree_cache *cache, struct digest *digests, size_t max)
{
	const struct tree *tree;
	size_t count = 0;

	pthread_mutex_lock(&cache->lock);
	/* Those used last are the likeliest to be asked for. */
	TAILQ_FOREACH_REVERSE(tree, &cache->by_use, tree_list, link)
	{
		if (count == max)
			break;
		digests[count++] = tree->digest;
	}
	pthread_mutex_unlock(&cache->lock);
	return count;
}

uint64_t
tree_cache_generation(struct tree_cache *cache)
{
	return atomic_load(&cache->generation);
}

void
tree_cache_usage(struct tree_cache *cache, struct tree_cache_usage *usage)
{
	pthread_mutex_lock(&cache->lock);
	*usage = (struct tree_cache_usage){.bytes = cache->bytes,
	    .trees = cache->count,
	    .made = cache->made,
	    .evicted = cache->evicted};
	pthread_mutex_unlock(&cache->lock);
}
