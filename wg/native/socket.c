/*
 * podveil-socket: datagram sockets for Node.js, on the event loop's own thread.
 *
 * It knows sockets and nothing of what travels on them: sockaddr, option and datagram are bytes here, and every codec
 * is TypeScript. Nothing blocks, nothing runs on another thread, and nothing is allocated per datagram: what arrives is
 * received by recvmmsg(2) into one slab that JavaScript owns, and JavaScript is called once for the whole batch.
 *
 * Calls answer with a negative errno where the system refuses, so that the text of an error is made in one place, in
 * TypeScript. Only a wrong argument throws here.
 *
 * Life of a socket: JavaScript holds it through an external value, libuv through its poll handle. The memory goes when
 * both have let go, in whichever order: close(), garbage collection, worker.terminate() and exit of the process all end
 * in close_socket().
 *
 * One thing that is no socket is here as well, for want of another addon: releaseProgram().
 */
#define _GNU_SOURCE
#define NAPI_VERSION 8

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <node_api.h>
#include <uv.h>

enum {
  MAX_SLOTS = 128,
  /* One slot of the slab, field by field: u32 length, u32 address length; the address; the datagram. */
  LENGTHS_SIZE = 2 * sizeof(uint32_t),
  ADDRESS_SIZE = sizeof(struct sockaddr_storage),
};

struct datagram_socket {
  napi_env env;
  uv_poll_t poll;
  napi_async_cleanup_hook_handle cleanup_hook;
  napi_ref slab;
  napi_ref callback;
  uint32_t slots;
  int fd;
  bool receiving;
  int holders;
};

#define CHECK(env, call)                                            \
  do {                                                              \
    if ((call) != napi_ok) return throw_last_error((env), #call);   \
  } while (0)

static napi_value throw_last_error(napi_env env, const char *call) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", call);
  return NULL;
}

static napi_value to_number(napi_env env, int64_t number) {
  napi_value value = NULL;
  napi_create_int64(env, number, &value);
  return value;
}

static napi_value result_of(napi_env env, int64_t result) {
  return to_number(env, result < 0 ? -errno : result);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static void release(struct datagram_socket *s) {
  if (--s->holders == 0) free(s);
}

static void on_closed(uv_handle_t *handle) {
  struct datagram_socket *s = handle->data;
  napi_remove_async_cleanup_hook(s->cleanup_hook);
  release(s);
}

static void drop_reference(napi_env env, napi_ref *reference) {
  if (*reference != NULL) napi_delete_reference(env, *reference);
  *reference = NULL;
}

static void close_socket(struct datagram_socket *s) {
  if (s->fd < 0) return;
  /* uv_close() takes the descriptor out of epoll at once, so it may be closed here and its port is free on return. */
  uv_close((uv_handle_t *)&s->poll, on_closed);
  close(s->fd);
  s->fd = -1;
  s->receiving = false;
  drop_reference(s->env, &s->callback);
  drop_reference(s->env, &s->slab);
}

static void on_environment_teardown(napi_async_cleanup_hook_handle hook, void *data) {
  (void)hook;
  close_socket(data);
}

static void on_garbage_collected(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  close_socket(data);
  release(data);
}

/* The socket of a call whose arguments start with one; NULL after throwing. */
static struct datagram_socket *arguments(napi_env env, napi_callback_info info, size_t expected, napi_value *argv) {
  size_t argc = expected;
  struct datagram_socket *s = NULL;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < expected ||
      napi_get_value_external(env, argv[0], (void **)&s) != napi_ok) {
    throw_last_error(env, "expected a socket and its arguments");
    return NULL;
  }
  if (s->fd < 0) {
    napi_throw_error(env, "ERR_SOCKET_CLOSED", "the socket is closed");
    return NULL;
  }
  return s;
}

/* --- open ------------------------------------------------------------------------------------------------------- */

/*
 * A socket belongs to the network namespace that its thread was in at socket(2). setns(2) is per thread, so going there
 * and back in one call is invisible to the rest of the process. A thread that cannot come home would quietly act on the
 * wrong network from then on: nothing is worse, so the process ends.
 */
static int socket_in_namespace(int domain, int type, int protocol, int namespace_fd) {
  int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (home < 0) return -1;
  int fd = -1;
  int error = 0;
  if (setns(namespace_fd, CLONE_NEWNET) < 0) {
    error = errno;
  } else {
    fd = socket(domain, type, protocol);
    error = errno;
    if (setns(home, CLONE_NEWNET) < 0)
      napi_fatal_error("podveil-socket", NAPI_AUTO_LENGTH, "cannot return to the home network namespace",
                       NAPI_AUTO_LENGTH);
  }
  close(home);
  errno = error;
  return fd;
}

/* open(domain, type, protocol, namespaceFd or -1): external | -errno */
static napi_value socket_open(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  size_t argc = 4;
  int32_t domain, type, protocol, namespace_fd;
  CHECK(env, napi_get_cb_info(env, info, &argc, argv, NULL, NULL));
  CHECK(env, napi_get_value_int32(env, argv[0], &domain));
  CHECK(env, napi_get_value_int32(env, argv[1], &type));
  CHECK(env, napi_get_value_int32(env, argv[2], &protocol));
  CHECK(env, napi_get_value_int32(env, argv[3], &namespace_fd));
  uv_loop_t *loop;
  CHECK(env, napi_get_uv_event_loop(env, &loop));

  type |= SOCK_CLOEXEC | SOCK_NONBLOCK;
  int fd = namespace_fd < 0 ? socket(domain, type, protocol)
                            : socket_in_namespace(domain, type, protocol, namespace_fd);
  if (fd < 0) return result_of(env, fd);

  struct datagram_socket *s = calloc(1, sizeof *s);
  if (s == NULL) {
    close(fd);
    return to_number(env, -ENOMEM);
  }
  s->env = env;
  s->fd = fd;
  int status = uv_poll_init(loop, &s->poll, fd);
  if (status < 0) {
    close(fd);
    free(s);
    return to_number(env, status);
  }
  s->poll.data = s;
  s->holders = 1; /* libuv, until on_closed() */
  napi_value external;
  if (napi_add_async_cleanup_hook(env, on_environment_teardown, s, &s->cleanup_hook) != napi_ok ||
      napi_create_external(env, s, on_garbage_collected, NULL, &external) != napi_ok) {
    close_socket(s);
    return throw_last_error(env, "open");
  }
  s->holders++; /* JavaScript, until on_garbage_collected() */
  return external;
}

static napi_value socket_close(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  size_t argc = 1;
  struct datagram_socket *s = NULL;
  CHECK(env, napi_get_cb_info(env, info, &argc, argv, NULL, NULL));
  CHECK(env, napi_get_value_external(env, argv[0], (void **)&s));
  close_socket(s);
  return NULL;
}

/* --- set up ----------------------------------------------------------------------------------------------------- */

/* bind(socket, sockaddr): 0 | -errno */
static napi_value socket_bind(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  struct datagram_socket *s = arguments(env, info, 2, argv);
  if (s == NULL) return NULL;
  void *address;
  size_t length;
  CHECK(env, napi_get_buffer_info(env, argv[1], &address, &length));
  return result_of(env, bind(s->fd, address, (socklen_t)length));
}

/* setsockopt(socket, level, name, value): 0 | -errno */
static napi_value socket_setsockopt(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  struct datagram_socket *s = arguments(env, info, 4, argv);
  if (s == NULL) return NULL;
  int32_t level, name;
  void *value;
  size_t length;
  CHECK(env, napi_get_value_int32(env, argv[1], &level));
  CHECK(env, napi_get_value_int32(env, argv[2], &name));
  CHECK(env, napi_get_buffer_info(env, argv[3], &value, &length));
  return result_of(env, setsockopt(s->fd, level, name, value, (socklen_t)length));
}

/*
 * setsockoptOf(pid, descriptor, level, name, value): 0 | -errno, for a socket of another process. By system call: the C
 * library got names for these two later than the kernel (5.3, 5.6) had them.
 */
static napi_value socket_setsockopt_of(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  size_t argc = 5;
  int32_t pid, descriptor, level, name;
  void *value;
  size_t length;
  CHECK(env, napi_get_cb_info(env, info, &argc, argv, NULL, NULL));
  CHECK(env, napi_get_value_int32(env, argv[0], &pid));
  CHECK(env, napi_get_value_int32(env, argv[1], &descriptor));
  CHECK(env, napi_get_value_int32(env, argv[2], &level));
  CHECK(env, napi_get_value_int32(env, argv[3], &name));
  CHECK(env, napi_get_buffer_info(env, argv[4], &value, &length));

  int process = (int)syscall(SYS_pidfd_open, pid, 0);
  if (process < 0) return result_of(env, process);
  int fd = (int)syscall(SYS_pidfd_getfd, process, descriptor, 0);
  int result = fd < 0 ? -1 : setsockopt(fd, level, name, value, (socklen_t)length);
  napi_value answer = result_of(env, result);
  if (fd >= 0) close(fd);
  close(process);
  return answer;
}

/* getsockname(socket): sockaddr | -errno */
static napi_value socket_getsockname(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct datagram_socket *s = arguments(env, info, 1, argv);
  if (s == NULL) return NULL;
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  if (getsockname(s->fd, (struct sockaddr *)&address, &length) < 0) return result_of(env, -1);
  napi_value buffer;
  CHECK(env, napi_create_buffer_copy(env, length, &address, NULL, &buffer));
  return buffer;
}

/* ref(socket, yes): whether a socket that is received from keeps the process alive */
static napi_value socket_ref(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  struct datagram_socket *s = arguments(env, info, 2, argv);
  if (s == NULL) return NULL;
  bool yes;
  CHECK(env, napi_get_value_bool(env, argv[1], &yes));
  if (yes)
    uv_ref((uv_handle_t *)&s->poll);
  else
    uv_unref((uv_handle_t *)&s->poll);
  return NULL;
}

/* --- send ------------------------------------------------------------------------------------------------------- */

/* send(socket, datagram, sockaddr or undefined): bytes | -errno */
static napi_value socket_send(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  struct datagram_socket *s = arguments(env, info, 3, argv);
  if (s == NULL) return NULL;
  void *datagram, *address = NULL;
  size_t length, address_length = 0;
  napi_valuetype type;
  CHECK(env, napi_get_buffer_info(env, argv[1], &datagram, &length));
  CHECK(env, napi_typeof(env, argv[2], &type));
  if (type != napi_undefined) CHECK(env, napi_get_buffer_info(env, argv[2], &address, &address_length));
  ssize_t sent;
  do {
    sent = sendto(s->fd, datagram, length, MSG_DONTWAIT | MSG_NOSIGNAL, address, (socklen_t)address_length);
  } while (sent < 0 && errno == EINTR);
  return result_of(env, sent);
}

/* --- receive ---------------------------------------------------------------------------------------------------- */

/*
 * slab(socket, buffer, slots): where datagrams go from now on. The buffer is divided into three arrays of `slots`
 * elements: lengths, addresses, datagrams. It starts at a multiple of 4 in memory.
 */
static napi_value socket_slab(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  struct datagram_socket *s = arguments(env, info, 3, argv);
  if (s == NULL) return NULL;
  uint32_t slots;
  size_t size;
  CHECK(env, napi_get_buffer_info(env, argv[1], NULL, &size));
  CHECK(env, napi_get_value_uint32(env, argv[2], &slots));
  if (slots == 0 || slots > MAX_SLOTS || size / slots <= LENGTHS_SIZE + ADDRESS_SIZE) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "the slab is too small, or has too many slots");
    return NULL;
  }
  napi_ref slab;
  CHECK(env, napi_create_reference(env, argv[1], 1, &slab));
  drop_reference(env, &s->slab);
  s->slab = slab;
  s->slots = slots;
  return NULL;
}

/* Fills the slab: the number of datagrams, or -errno; -EAGAIN when there are none. */
static int receive_batch(struct datagram_socket *s) {
  napi_value slab;
  void *start;
  size_t size;
  if (s->slab == NULL || napi_get_reference_value(s->env, s->slab, &slab) != napi_ok ||
      napi_get_buffer_info(s->env, slab, &start, &size) != napi_ok || size / s->slots <= LENGTHS_SIZE + ADDRESS_SIZE)
    return -EFAULT;

  uint32_t *lengths = start;
  unsigned char *addresses = (unsigned char *)start + (size_t)s->slots * LENGTHS_SIZE;
  unsigned char *datagrams = addresses + (size_t)s->slots * ADDRESS_SIZE;
  size_t slot_size = size / s->slots - LENGTHS_SIZE - ADDRESS_SIZE;
  struct iovec vectors[MAX_SLOTS];
  struct mmsghdr messages[MAX_SLOTS];
  memset(messages, 0, s->slots * sizeof messages[0]);
  for (uint32_t i = 0; i < s->slots; i++) {
    vectors[i] = (struct iovec){.iov_base = datagrams + i * slot_size, .iov_len = slot_size};
    messages[i].msg_hdr.msg_name = addresses + (size_t)i * ADDRESS_SIZE;
    messages[i].msg_hdr.msg_namelen = ADDRESS_SIZE;
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }

  int count;
  do {
    /* MSG_TRUNC: the length is the datagram's own, also where the slot was too small for it. */
    count = recvmmsg(s->fd, messages, s->slots, MSG_DONTWAIT | MSG_TRUNC, NULL);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return -errno;
  for (int i = 0; i < count; i++) {
    lengths[2 * i] = messages[i].msg_len;
    lengths[2 * i + 1] = messages[i].msg_hdr.msg_namelen;
  }
  return count;
}

static void call_back(struct datagram_socket *s, int result) {
  napi_env env = s->env;
  napi_value callback, global, argument;
  if (napi_get_reference_value(env, s->callback, &callback) != napi_ok || napi_get_global(env, &global) != napi_ok ||
      napi_create_int32(env, result, &argument) != napi_ok)
    return;
  if (napi_make_callback(env, NULL, global, callback, 1, &argument, NULL) == napi_ok) return;
  /* What a listener throws is an uncaught exception like any other; there is none when a worker is being terminated. */
  bool pending = false;
  napi_value exception;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
      napi_get_and_clear_last_exception(env, &exception) == napi_ok)
    napi_fatal_exception(env, exception);
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  (void)events;
  struct datagram_socket *s = poll->data;
  napi_handle_scope scope;
  if (napi_open_handle_scope(s->env, &scope) != napi_ok) return;
  int result = receive_batch(s);
  if (result != -EAGAIN) call_back(s, result);
  /*
   * libuv answers an error on the socket (a netlink overrun is one) by stopping the poll and saying UV_EBADF. The true
   * errno was taken, and cleared, by the receive above; what follows it is still wanted.
   */
  if (status < 0 && s->receiving) uv_poll_start(poll, UV_READABLE, on_readable);
  napi_close_handle_scope(s->env, scope);
}

/* start(socket, callback): callback(count | -errno) for each batch, after which the slab is written anew */
static napi_value socket_start(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  struct datagram_socket *s = arguments(env, info, 2, argv);
  if (s == NULL) return NULL;
  if (s->slab == NULL) {
    napi_throw_error(env, "ERR_INVALID_STATE", "the socket has no slab");
    return NULL;
  }
  napi_ref callback;
  CHECK(env, napi_create_reference(env, argv[1], 1, &callback));
  drop_reference(env, &s->callback);
  s->callback = callback;
  s->receiving = true;
  return to_number(env, uv_poll_start(&s->poll, UV_READABLE, on_readable));
}

static napi_value socket_stop(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct datagram_socket *s = arguments(env, info, 1, argv);
  if (s == NULL) return NULL;
  s->receiving = false;
  uv_poll_stop(&s->poll);
  drop_reference(env, &s->callback);
  return NULL;
}

/* receive(socket): count | -errno, at once */
static napi_value socket_receive(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct datagram_socket *s = arguments(env, info, 1, argv);
  if (s == NULL) return NULL;
  return to_number(env, receive_batch(s));
}

/* The first object is the program itself. */
static int release_segments(struct dl_phdr_info *program, size_t size, void *data) {
  (void)size;
  (void)data;
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < program->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &program->dlpi_phdr[i];
    if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0) continue;
    const uintptr_t start = (program->dlpi_addr + segment->p_vaddr) & ~(page - 1);
    const uintptr_t end = program->dlpi_addr + segment->p_vaddr + segment->p_filesz;
    madvise((void *)start, end - start, MADV_DONTNEED);
  }
  return 1;
}

/*
 * releaseProgram(): unmaps what is mapped of the program's own file and cannot be written to. All of it is in the page
 * cache still, and what runs is mapped again at its next step.
 */
static napi_value release_program(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  dl_iterate_phdr(release_segments, NULL);
  return NULL;
}

NAPI_MODULE_INIT() {
  const struct {
    const char *name;
    napi_callback function;
  } functions[] = {
      {"open", socket_open},
      {"close", socket_close},
      {"bind", socket_bind},
      {"setsockopt", socket_setsockopt},
      {"setsockoptOf", socket_setsockopt_of},
      {"getsockname", socket_getsockname},
      {"ref", socket_ref},
      {"send", socket_send},
      {"slab", socket_slab},
      {"start", socket_start},
      {"stop", socket_stop},
      {"receive", socket_receive},
      {"releaseProgram", release_program},
  };
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    napi_value function;
    CHECK(env, napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &function));
    CHECK(env, napi_set_named_property(env, exports, functions[i].name, function));
  }
  return exports;
}
