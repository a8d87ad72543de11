// Drives the robot of an SDF world in the physics engine of Gazebo Fortress, and loads meshes as Gazebo does.
//   drive WORLD.sdf STEP_S WHEEL_SEPARATION_M WHEEL_RADIUS_M (LINEAR_MPS ANGULAR_RPS SECONDS)...
// After each stretch one line of JSON: pose, tilt, and how far the wheels have turned. `drive MESH.obj` tells its size.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ignition/common/Mesh.hh>
#include <ignition/common/MeshManager.hh>
#include <ignition/physics/ForwardStep.hh>
#include <ignition/physics/FrameSemantics.hh>
#include <ignition/physics/GetEntities.hh>
#include <ignition/physics/Joint.hh>
#include <ignition/physics/RequestEngine.hh>
#include <ignition/physics/sdf/ConstructModel.hh>
#include <ignition/physics/sdf/ConstructWorld.hh>
#include <ignition/plugin/Loader.hh>
#include <sdf/Root.hh>
#include <sdf/World.hh>
#include <string>

namespace physics = ignition::physics;
using Features = physics::FeatureList<physics::sdf::ConstructSdfWorld, physics::sdf::ConstructSdfModel,
                                      physics::GetEntities, physics::ForwardStep, physics::LinkFrameSemantics,
                                      physics::SetJointVelocityCommandFeature, physics::GetBasicJointState>;
using Engine = physics::RequestEngine<physics::FeaturePolicy3d, Features>;

constexpr double kLinearAccel = 6.0, kAngularAccel = 18.0;  // as the world's plugin limits them

static double toward(double now, double wanted, double most) {
  return now + std::clamp(wanted - now, -most, most);
}

static int tell_mesh(const char *file) {
  const auto *mesh = ignition::common::MeshManager::Instance()->Load(file);
  if (mesh == nullptr) return 1;
  const auto size = mesh->Max() - mesh->Min();
  std::printf("{\"size\": [%.6f, %.6f, %.6f], \"texcoords\": %u, \"vertices\": %u}\n", size.X(), size.Y(), size.Z(),
              mesh->TexCoordCount(), mesh->VertexCount());
  return 0;
}

static physics::EnginePtr<physics::FeaturePolicy3d, Features> load_engine() {
  static ignition::plugin::Loader loader;
  loader.LoadLib(DARTSIM);
  for (const auto &name : loader.AllPlugins()) {
    const auto engine = Engine::From(loader.Instantiate(name));
    if (engine) return engine;
  }
  return nullptr;
}

int main(int count, char **words) {
  if (count == 2) return tell_mesh(words[1]);
  const auto engine = load_engine();
  if (!engine) return std::puts("no physics engine"), 1;
  sdf::Root root;
  if (!root.Load(words[1]).empty()) return std::puts("not valid SDF"), 1;
  const auto world = engine->ConstructWorld(*root.WorldByIndex(0));
  const auto robot = world->GetModel("robot");
  const auto base = robot->GetLink("base_link");
  const auto left = robot->GetJoint("left_wheel_joint"), right = robot->GetJoint("right_wheel_joint");
  const double step_s = std::atof(words[2]), separation = std::atof(words[3]), radius = std::atof(words[4]);
  physics::ForwardStep::Input input;
  physics::ForwardStep::Output output;
  physics::ForwardStep::State state;
  input.Get<std::chrono::steady_clock::duration>() =
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(step_s));
  double linear = 0.0, angular = 0.0;
  for (int at = 5; at + 2 < count; at += 3) {
    double tilt = 0.0;
    for (long steps = std::lround(std::atof(words[at + 2]) / step_s); steps > 0; --steps) {
      linear = toward(linear, std::atof(words[at]), kLinearAccel * step_s);
      angular = toward(angular, std::atof(words[at + 1]), kAngularAccel * step_s);
      left->SetVelocityCommand(0, (linear - angular * separation / 2) / radius);
      right->SetVelocityCommand(0, (linear + angular * separation / 2) / radius);
      world->Step(output, state, input);
      tilt = std::max(tilt, std::acos(std::min(1.0, base->FrameDataRelativeToWorld().pose.linear()(2, 2))));
    }
    const auto pose = base->FrameDataRelativeToWorld().pose;
    std::printf("{\"x\": %.5f, \"y\": %.5f, \"z\": %.5f, \"yaw\": %.5f, \"tilt\": %.5f, \"left\": %.5f, \"right\": %.5f}\n",
                pose.translation().x(), pose.translation().y(), pose.translation().z(),
                std::atan2(pose.linear()(1, 0), pose.linear()(0, 0)), tilt, left->GetPosition(0) * radius,
                right->GetPosition(0) * radius);
  }
  return 0;
}
