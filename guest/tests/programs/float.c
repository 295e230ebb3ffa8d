// The x87 and SSE units as a C program meets them: rounding modes, exception flags and traps, the library's functions,
// and state that survives signals and other threads.
#define _GNU_SOURCE
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define GROUP "float"

static void rounding(void) {
  static const struct {
    int mode;
    const char* name;
    double third;
    long nearest;
  } modes[] = {{FE_TONEAREST, "round-nearest", 0x1.5555555555555p-2, 2},
               {FE_DOWNWARD, "round-down", 0x1.5555555555555p-2, 2},
               {FE_UPWARD, "round-up", 0x1.5555555555556p-2, 3},
               {FE_TOWARDZERO, "round-zero", 0x1.5555555555555p-2, 2}};
  for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
    volatile double one = 1, three = 3, half = 2.5;
    volatile long double wide = 2.5L;
    fesetround(modes[i].mode);
    volatile double third = one / three;
    volatile long sse = lrint(half), x87 = lrintl(wide);
    fesetround(FE_TONEAREST);
    check(GROUP, modes[i].name, third == modes[i].third && sse == modes[i].nearest && x87 == modes[i].nearest);
  }
}

static void flags(void) {
  volatile double zero = 0, one = 1, huge = DBL_MAX, tiny = DBL_MIN, minus = -1, three = 3;
  volatile double result;
  feclearexcept(FE_ALL_EXCEPT);
  result = one / zero;
  check(GROUP, "divide-by-zero", fetestexcept(FE_ALL_EXCEPT) == FE_DIVBYZERO && isinf(result));
  feclearexcept(FE_ALL_EXCEPT);
  result = huge * huge;
  check(GROUP, "overflow", fetestexcept(FE_ALL_EXCEPT) == (FE_OVERFLOW | FE_INEXACT) && isinf(result));
  feclearexcept(FE_ALL_EXCEPT);
  result = tiny / three;
  check(GROUP, "underflow", fetestexcept(FE_ALL_EXCEPT) == (FE_UNDERFLOW | FE_INEXACT) && result > 0);
  feclearexcept(FE_ALL_EXCEPT);
  result = sqrt(minus);
  check(GROUP, "invalid", fetestexcept(FE_ALL_EXCEPT) == FE_INVALID && isnan(result));
  volatile long double wide = 1, none = 0;
  feclearexcept(FE_ALL_EXCEPT);
  wide = wide / none;
  check(GROUP, "x87-divide-by-zero", fetestexcept(FE_ALL_EXCEPT) == FE_DIVBYZERO && isinf(wide));
  feclearexcept(FE_ALL_EXCEPT);
}

static void functions(void) {
  volatile double x = 0.5;
  char text[200];
  snprintf(text, sizeof text, "%.15g %.15g %.15g %.15g %.15g", sin(x), tan(x), exp(x), log(x), pow(x, x));
  check(GROUP, "functions",
        !strcmp(text, "0.479425538604203 0.54630248984379 1.64872127070013 -0.693147180559945 0.707106781186548"));
  volatile long double y = 0.5L;
  snprintf(text, sizeof text, "%.18Lg %.18Lg %.18Lg", sqrtl(y), atanl(y), logl(y));
  check(GROUP, "x87-functions", !strcmp(text, "0.707106781186547524 0.463647609000806116 -0.693147180559945309"));
  snprintf(text, sizeof text, "%.20Lg", 1.0L / 3);
  check(GROUP, "x87-width", !strcmp(text, "0.33333333333333333334"));
  check(GROUP, "strtod", strtod("3.14159265358979323846", NULL) == M_PI && strtod("1e-320", NULL) > 0);
  check(GROUP, "fmod", fmod(1e300, 7.0) == 1.0 && fmodl(1e18L, 7.0L) == 1.0L);
}

static sigjmp_buf back;
static volatile int code;

static void trapped(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  code = info->si_code;
  siglongjmp(back, 1);
}

static void traps(void) {
  struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};
  sigaction(SIGFPE, &action, NULL);
  code = 0;
  if (!sigsetjmp(back, 1)) {
    feenableexcept(FE_DIVBYZERO);
    volatile double one = 1, zero = 0;
    one = one / zero;
  }
  check(GROUP, "sse-trap", code == FPE_FLTDIV);
  feclearexcept(FE_ALL_EXCEPT);
  fesetenv(FE_DFL_ENV);
  code = 0;
  if (!sigsetjmp(back, 1)) {
    feenableexcept(FE_INVALID);
    volatile long double minus = -1;
    asm volatile("fldt %0; fsqrt; fwait; fstp %%st(0)" : : "m"(minus) : "st");
  }
  check(GROUP, "x87-trap", code == FPE_FLTINV);
  asm volatile("fnclex; fninit");
  fesetenv(FE_DFL_ENV);
}

static void disturb(int signal) {
  (void)signal;
  asm volatile("fninit; fldz; pxor %%xmm0, %%xmm0; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15" ::
                   : "xmm0", "xmm7", "xmm15", "st");
}

static void survives_signals(void) {
  signal(SIGUSR1, disturb);
  const double in[2] = {1.5, -2.25};
  double out[3][2];
  long double top = 0;
  long result;
  // kill(getpid(), SIGUSR1) inside one statement, so that the registers hold what was put there.
  asm volatile(
      "fldpi; movupd %[in], %%xmm0; movapd %%xmm0, %%xmm7; movapd %%xmm0, %%xmm15;"
      "mov $39, %%eax; syscall; mov %%eax, %%edi; mov $10, %%esi; mov $62, %%eax; syscall;"
      "movupd %%xmm0, %[a]; movupd %%xmm7, %[b]; movupd %%xmm15, %[c]; fstpt %[top]"
      : "=&a"(result), [a] "=m"(out[0]), [b] "=m"(out[1]), [c] "=m"(out[2]), [top] "=m"(top)
      : [in] "m"(in)
      : "rcx", "r11", "rdi", "rsi", "xmm0", "xmm7", "xmm15", "memory", "st");
  int same = result == 0 && fabsl(top - 3.14159265358979323846L) < 1e-18L;
  for (int i = 0; i < 3; i++) same &= !memcmp(out[i], in, sizeof in);
  check(GROUP, "survives-signal", same);
}

static void* sum_thread(void* argument) {
  const double step = *(double*)argument;
  double sse = 0;
  long double x87 = 0;
  for (int i = 0; i < 300000; i++) sse += step, x87 += step;
  return (void*)(long)(sse == step * 300000 && x87 == (long double)step * 300000);
}

static void survives_threads(void) {
  pthread_t threads[3];
  static double steps[3] = {0.5, 0.25, 3.0};
  long right = 1;
  for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, sum_thread, &steps[i]);
  for (int i = 0; i < 3; i++) {
    void* result = NULL;
    pthread_join(threads[i], &result);
    right &= (long)result;
  }
  check(GROUP, "survives-threads", (int)right);
}

int main(void) {
  rounding();
  flags();
  functions();
  traps();
  survives_signals();
  survives_threads();
  return failures != 0;
}
